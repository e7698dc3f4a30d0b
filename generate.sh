#!/usr/bin/env bash
# Makes generated/ out of definitions/ and templates/: all files or none.   ./generate.sh [-check]
set -euo pipefail
cd "$(dirname "$0")"
go tool oto "$@" \
	-template templates/server.go.plush -out generated/server/oto.gen.go -pkg server \
	-template templates/client.go.plush -out generated/client/oto.gen.go -pkg client \
	-template templates/client.ts.plush -out generated/client.ts -pkg tacos \
	-template templates/client.py.plush -out generated/client.py -pkg tacos \
	-template templates/openapi.json.plush -out generated/openapi.json -pkg tacos -params title:Tacos \
	./definitions
# The same templates are built into oto, which embeds its own copies.
for template in templates/*.plush; do
	copy=oto/$template
	if [ "${1-}" != -check ]; then
		cmp -s "$template" "$copy" || cp "$template" "$copy"
	elif ! diff -u "$copy" "$template"; then
		echo "$copy is out of date: generate it again" >&2
		exit 1
	fi
done
