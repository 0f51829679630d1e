"""lighttpd's and nginx's configurations: only SyntaxFault is raised, and what is made of them is TOML."""

from __future__ import annotations

import tomllib

from securelight.config.foreign.draft import Draft, SyntaxFault
from securelight.config.foreign.lighttpd import convert_lighttpd
from securelight.config.foreign.nginx import convert_nginx

SEEDS = [
    b'server.port = 443\n$HTTP["host"] == "a.test" {\n server.document-root = "/srv"\n url.redirect = ("^/a" => "/b")\n'
    b' url.rewrite-once = ( "^/c(.*)$" => "/d$1" )\n}\nelse $HTTP["url"] =~ "^/x" { url.access-deny = ("~") }\n',
    b'proxy.server = ( "/p" => (( "host" => "127.0.0.1", "port" => 80 )))\nexpire.url = ("/" => "access 1 days")\n'
    b'fastcgi.server = ( ".php" => (("socket" => "/run/php")))\nserver.max-request-size = 10\n',
    b'http { upstream u { server 127.0.0.1:80; }\n server { listen 443 ssl; server_name a.test; root /srv;\n'
    b' location /a { proxy_pass http://u; } location ~ \\.php$ { fastcgi_pass unix:/run/php; }\n'
    b' location = /b { return 301 /c; } rewrite ^/d(.*)$ /e$1 permanent; error_page 404 /404.html; expires 30d; } }\n',
]  # fmt: skip
WORDS = [
    b"server {", b"}", b"location ", b"listen ", b"443 ssl", b"server_name ", b"return ", b"rewrite ", b"try_files ",
    b"proxy_pass ", b"add_header ", b"expires ", b"allow ", b"deny ", b"auth_basic ", b"if (", b"$HTTP[", b"=~", b"=>",
    b"server.", b"url.", b"setenv.add-response-header = ", b"evhost.path-pattern = ", b"auth.require = ", b'"',
    b"$1", b"{1}",
]  # fmt: skip


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for convert in (convert_lighttpd, convert_nginx):
        _check(convert, text)


def _check(convert: object, text: str) -> None:
    assert callable(convert)
    try:
        draft = convert(text)
    except SyntaxFault:
        return
    assert isinstance(draft, Draft)
    made = tomllib.loads(draft.toml("a.conf"))
    assert made["site"] == draft.sites
