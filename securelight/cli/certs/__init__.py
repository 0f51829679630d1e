"""`securelight certs ...`: the local authority, its certificates, and who trusts it. One file per command."""
