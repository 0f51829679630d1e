// Loaded before the suite's origin server, which would listen on all addresses: lets it listen on this machine alone.
const net = require('net')

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port) { return listen.call(this, Number(port), '127.0.0.1') }
