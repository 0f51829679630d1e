// Runs the HTTP cache tests from their folder against one server, and prints what came of each as JSON.
//
//   node run_suite.mjs FOLDER BASE_URL [ID ...]     all tests, or those with these ids and what they depend on
//
// The suite's own client does the same a hundred tests at a time, with pauses of seconds in each; here all run at once.

import { createRequire } from 'module'
import path from 'path'
import { pathToFileURL } from 'url'

const [folder, base, ...ids] = process.argv.slice(2)
const load = file => import(pathToFileURL(path.join(folder, file)).href)
const fetch = createRequire(path.join(folder, 'cli.mjs'))('node-fetch')
const { runTests, getResults } = await load('client/runner.mjs')
const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]

const tests = new Map()
for (const suite of suites) for (const test of suite.tests) if (!test.browser_only) tests.set(test.id, { suite, test })

const wanted = new Set(ids.length ? ids : tests.keys())
for (const id of wanted) for (const needed of tests.get(id).test.depends_on || []) wanted.add(needed)

const chosen = suites.map(suite => ({ ...suite, tests: suite.tests.filter(test => wanted.has(test.id)) }))
await runTests(chosen, fetch, false, base, Number(process.env.TESTS_AT_ONCE || 150))
const results = getResults()

function outcome (id) {
  const { test } = tests.get(id)
  const [error, message] = results[id] === true ? [] : results[id]
  if ((test.depends_on || []).some(one => !['pass', 'yes'].includes(outcome(one)))) return 'untested'
  if (results[id] === true) return test.kind === 'check' ? 'yes' : 'pass'
  if (error === 'Setup') return message === 'retry' ? 'retry' : 'setup'
  if (error !== 'Assertion') return 'broken'
  return test.kind === 'check' ? 'no' : 'fail'
}

const table = [...wanted].map(id => {
  const { suite, test } = tests.get(id)
  const said = results[id] === true ? '' : results[id].join(': ')
  return { id, suite: suite.name, name: test.name, kind: test.kind || 'required', outcome: outcome(id), said }
})
process.stdout.write(JSON.stringify(table), () => process.exit(0)) // sockets are still open
