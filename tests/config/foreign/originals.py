"""Configurations of other servers, as people have them."""

NGINX = r"""
user www-data;
worker_processes 4;
events { worker_connections 1024; }
http {
    include mime.types;
    gzip on;
    client_max_body_size 50m;
    upstream app { server 127.0.0.1:9000; server 127.0.0.1:9001 weight=2; }
    server { listen 80; listen [::]:80; server_name example.org www.example.org; return 301 https://$host$request_uri; }
    server {
        listen 443 ssl http2;
        listen [::]:443 ssl;
        server_name example.org .example.net;
        root /srv/example;
        ssl_certificate /etc/ssl/example.pem;
        ssl_certificate_key /etc/ssl/example.key;
        add_header X-Frame-Options "DENY" always;
        error_page 404 /404.html;
        rewrite ^/blog/(\d+)/(.*)$ /posts/$2?id=$1 permanent;
        location / { try_files $uri $uri/ /index.html; }
        location /api/ { proxy_pass http://app; proxy_set_header Host $host; limit_req zone=one; }
        location ^~ /img/ { expires 30d; }
        location = /favicon.ico { return 204; }
        location ~* \.php$ { fastcgi_pass unix:/run/php.sock; }
        location /admin/ { alias /srv/admin/; allow 10.0.0.0/8; deny all;
            auth_basic "Admins"; auth_basic_user_file /srv/htpasswd; }
        location /files/ { autoindex on; }
        location @named { return 404; }
    }
}
"""
LIGHTTPD = r"""
server.modules = ( "mod_redirect", "mod_rewrite" )
server.document-root = "/srv/www"
server.port = 80
server.username = "www-data"
index-file.names = ( "index.html", "index.php" )
url.access-deny = ( "~", ".inc" )
$SERVER["socket"] == ":443" {
  ssl.engine = "enable"
  ssl.pemfile = "/etc/ssl/a.pem"
}
ssl.pemfile = "/etc/ssl/a.pem"
ssl.privkey = "/etc/ssl/a.key"
url.redirect = ( "^/old/(.*)$" => "/new/$1" )
url.rewrite-if-not-file = ( "^/app/.*" => "/app/index.html" )
alias.url = ( "/docs/" => "/usr/share/doc/" )
proxy.server = ( "/api" => (( "host" => "127.0.0.1", "port" => 9000 )) )
fastcgi.server = ( ".php" => (( "socket" => "/run/php.sock" )) )
expire.url = ( "/img/" => "access plus 7 days" )
$HTTP["host"] =~ "^(www\.)?example\.org$" {
  server.document-root = "/srv/example"
  setenv.add-response-header = ( "X-Site" => "example" )
}
$HTTP["remoteip"] == "10.0.0.0/8" { server.foo = "bar" }
auth.require = ( "/private" => ( "method" => "basic" ) )
"""

WORDPRESS_NGINX = r"""
user www-data;
worker_processes auto;
pid /run/nginx.pid;
events { worker_connections 768; multi_accept on; }
http {
  sendfile on; tcp_nopush on; keepalive_timeout 65;
  server_tokens off;
  include mime.types;
  default_type application/octet-stream;
  ssl_protocols TLSv1.2 TLSv1.3;
  log_format main '$remote_addr - $remote_user [$time_local] "$request"';
  access_log /var/log/nginx/access.log main;
  gzip on; gzip_types text/plain text/css application/json;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  limit_req_zone $binary_remote_addr zone=login:10m rate=5r/s;
  upstream backend { least_conn; server 127.0.0.1:3000 max_fails=3; server 127.0.0.1:3001 backup; keepalive 16; }
  server { listen 80 default_server; server_name _; return 301 https://$host$request_uri; }
  server {
    listen 443 ssl http2; server_name example.org www.example.org;
    root WWW; index index.php index.html;
    ssl_certificate CHAIN; ssl_certificate_key KEY;
    add_header Strict-Transport-Security "max-age=63072000; includeSubDomains" always;
    add_header X-Content-Type-Options nosniff;
    client_max_body_size 64M;
    location / { try_files $uri $uri/ /index.php?$args; }
    location ~ \.php$ { include fastcgi_params; fastcgi_pass unix:/run/php/php8.2-fpm.sock; fastcgi_index index.php; }
    location ~* \.(js|css|png|jpe?g|gif|ico|svg|woff2?)$ { expires 30d; add_header Cache-Control "public, immutable"; }
    location ~ /\.ht { deny all; }
    location = /robots.txt { allow all; log_not_found off; access_log off; }
    location /wp-login.php { limit_req zone=login burst=10 nodelay;
        auth_basic "Restricted"; auth_basic_user_file WWW/.htpasswd; }
  }
  server {
    listen 443 ssl; server_name app.example.org;
    ssl_certificate CHAIN; ssl_certificate_key KEY;
    location / {
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade"; proxy_set_header Host $host; proxy_read_timeout 300s;
    }
    location /static/ { alias WWW/; expires max; access_log off; }
    location /old { rewrite ^/old/(.*)$ /new/$1 last; }
    location /go { return 302 https://example.org/; }
    location /health { return 200 'ok'; add_header Content-Type text/plain; }
  }
}
"""
"""A site in PHP and an application behind a proxy; WWW, CHAIN and KEY stand for files."""

PHP_LIGHTTPD = r"""
server.modules = ("mod_access","mod_alias","mod_redirect","mod_rewrite","mod_openssl",
    "mod_fastcgi","mod_proxy","mod_expire","mod_auth")
var.basedir = "WWW"
server.document-root = var.basedir
server.port = 443
server.username = "www-data"
server.groupname = "www-data"
ssl.engine = "enable"
ssl.pemfile = "CHAIN"
ssl.privkey = "KEY"
index-file.names = ("index.php","index.html")
url.access-deny = ("~",".inc",".htaccess")
mimetype.assign = (".html"=>"text/html",".css"=>"text/css")
$SERVER["socket"] == ":80" { url.redirect = ("" => "https://${url.authority}${url.path}${qsa}") }
$HTTP["scheme"] == "http" { $HTTP["host"] =~ ".*" { url.redirect = (".*" => "https://%0$0") } }
fastcgi.server = (".php" => ("localhost" => ("socket" => "/run/php/php8.2-fpm.sock",
    "broken-scriptfilename" => "enable")))
expire.url = ("/img/" => "access plus 1 months")
url.rewrite-if-not-file = ("^/(.*)$" => "/index.php/$1")
server.error-handler-404 = "/404.html"
dir-listing.activate = "disable"
$HTTP["host"] == "static.example.org" { server.document-root = "WWW"
 setenv.add-response-header = ("Cache-Control" => "public") dir-listing.activate = "enable" }
$HTTP["host"] == "app.example.org" { proxy.server = ("" => (("host" => "127.0.0.1","port" => 3000))) }
$HTTP["url"] =~ "^/private/" { $HTTP["remoteip"] != "10.0.0.0/8" { url.access-deny = ("") } }
$HTTP["url"] =~ "^/download/" { setenv.add-response-header = ("Content-Disposition" => "attachment") }
else $HTTP["url"] =~ "^/x/" { server.max-request-size = 1000 }
"""
