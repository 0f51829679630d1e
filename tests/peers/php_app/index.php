<?php
// A small application for tests: uploads, sessions, paths, and files that the server sends for it.
$path = $_SERVER['PATH_INFO'] ?? '';
header('X-Script: ' . $_SERVER['SCRIPT_NAME']);
if ($path === '/upload') {
    $file = $_FILES['file'];
    header('Content-Type: text/plain');
    echo $file['name'], ' ', $file['size'], ' ', hash_file('sha256', $file['tmp_name']), ' ', $_POST['note'];
} elseif ($path === '/body') {
    header('Content-Type: text/plain');
    echo hash('sha256', file_get_contents('php://input'));
} elseif ($path === '/session') {
    session_save_path($_SERVER['SESSIONS']);
    session_start();
    $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
    header('Content-Type: text/plain');
    echo $_SESSION['count'];
} elseif ($path === '/file') {
    header('Content-Type: application/pdf');
    header('Content-Disposition: attachment; filename="tide.pdf"');
    header('X-Sendfile: ' . $_SERVER['FILES'] . '/' . ($_GET['name'] ?? 'tide.pdf'));
} elseif ($path === '/accel') {
    header('Content-Type: application/pdf');
    header('X-Accel-Redirect: /protected/tide.pdf');
} elseif ($path === '/redirect') {
    header('Location: ' . $_SERVER['SCRIPT_NAME'] . '/plain', true, 303);
} elseif ($path === '/stderr') {
    error_log($_GET['say']);
    echo 'said';
} elseif ($path === '/large') {
    header('Content-Type: application/octet-stream');
    for ($i = 0; $i < 15; $i++) {
        echo str_repeat(chr(65 + $i % 26), 100000);
    }
} else {
    header('Content-Type: application/json');
    $names = ['PATH_INFO', 'QUERY_STRING', 'REQUEST_METHOD', 'HTTPS', 'HTTP_PROXY', 'REMOTE_ADDR', 'SCRIPT_FILENAME'];
    $found = [];
    foreach ($names as $name) {
        $found[$name] = $_SERVER[$name] ?? null;
    }
    echo json_encode($found);
}
