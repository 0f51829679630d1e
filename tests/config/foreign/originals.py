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
