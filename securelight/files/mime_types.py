"""Content types by file name extension: the same on every machine, whatever its /etc/mime.types says.

Text is UTF-8. What is not in the table is application/octet-stream, which browsers save and, told `nosniff`, never run.
"""

from __future__ import annotations

DEFAULT_TYPE = b"application/octet-stream"

_TEXT = {
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm shtml",
    "text/javascript": "js mjs cjs",
    "text/markdown": "md markdown",
    "text/plain": "txt text log conf cfg ini asc diff patch py rs go c h sh toml yaml yml sha256 sha512",
    "text/tab-separated-values": "tsv",
    "text/vcard": "vcf vcard",
    "text/vtt": "vtt",
    "text/x-component": "htc",
}
"""Sent with charset=utf-8. Source code is shown, not run or saved."""

_OTHER = {
    "application/atom+xml": "atom",
    "application/dash+xml": "mpd",
    "application/epub+zip": "epub",
    "application/geo+json": "geojson",
    "application/gpx+xml": "gpx",
    "application/gzip": "gz tgz",
    "application/java-archive": "jar war ear",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/msword": "doc dot",
    "application/octet-stream": "bin exe dll deb dmg iso img msi msp msm br",
    "application/ogg": "ogx",
    "application/pdf": "pdf",
    "application/pgp-encrypted": "pgp gpg",
    "application/pgp-signature": "sig",
    "application/pkix-cert": "cer",
    "application/pkix-crl": "crl",
    "application/postscript": "ps eps ai",
    "application/rss+xml": "rss",
    "application/rtf": "rtf",
    "application/sql": "sql",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/vnd.google-earth.kmz": "kmz",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-fontobject": "eot",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.graphics": "odg",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.rar": "rar",
    "application/vnd.sqlite3": "sqlite sqlite3",
    "application/vnd.visio": "vsd",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bittorrent": "torrent",
    "application/x-bzip2": "bz2",
    "application/x-pem-file": "pem",
    "application/x-pkcs12": "p12 pfx",
    "application/x-redhat-package-manager": "rpm",
    "application/x-tar": "tar",
    "application/x-x509-ca-cert": "crt der",
    "application/x-xpinstall": "xpi",
    "application/x-xz": "xz",
    "application/xhtml+xml": "xhtml xht",
    "application/xml": "xml xsl xsd xslt",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/matroska": "mka",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg spx",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/collection": "ttc",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jpeg": "jpg jpeg jfif",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico cur",
    "image/webp": "webp",
    "message/rfc822": "eml",
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "model/obj": "obj",
    "model/stl": "stl",
    "video/3gpp": "3gp 3gpp",
    "video/matroska": "mkv",
    "video/mp2t": "ts",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpg mpeg",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-msvideo": "avi",
}

_TYPES: dict[bytes, bytes] = {
    **{
        extension.encode(): f"{name}; charset=utf-8".encode()
        for name, extensions in _TEXT.items()
        for extension in extensions.split()
    },
    **{extension.encode(): name.encode() for name, extensions in _OTHER.items() for extension in extensions.split()},
}


def content_type(name: bytes) -> bytes:
    """The Content-Type for a file of that name or path; letter case does not matter."""
    base = name[name.rfind(b"/") + 1 :]
    dot = base.rfind(b".")
    return DEFAULT_TYPE if dot < 1 else _TYPES.get(base[dot + 1 :].lower(), DEFAULT_TYPE)
