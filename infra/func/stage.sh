#!/usr/bin/env bash
# Lays out each function as func wants it: one folder, one module, nothing
# outside (docs/adr/0009-staged-folders.md). Usage: stage.sh [DIRECTORY], by default
# .build/stage.
#
# A staged folder's module has our common path, so that imports of shared, and of a
# function's own packages, stay as they are. Its versions are those of the function's own go.mod.
set -euo pipefail
cd "$(dirname "$0")/../.."
export GOWORK=off
out=$(realpath -m "${1:-.build/stage}")
module=github.com/m7pulse/m7pulse
mapfile -t functions < <(dirname functions/*/func.yaml | xargs -n 1 basename)

# copy FROM TO copies what a build needs of a folder: no tests and no packages for
# tests (…test), whose modules the function does not pin, and no go.mod.
copy() {
  mkdir -p "$2"
  tar -C "$1" --exclude='*_test.go' --exclude=testdata --exclude=history --exclude='*test' \
    --exclude=go.mod --exclude=go.sum -cf - . | tar -C "$2" -xf -
}

# write_module DIRECTORY GO.MOD writes the go.mod of a staged folder, with what the original requires.
write_module() {
  cp "$2" "$1/go.mod"
  cp "${2%.mod}.sum" "$1/go.sum"
  (
    cd "$1"
    go mod edit -module=$module
    for own in shared infra/local/github "${functions[@]/#/functions/}"; do
      go mod edit -droprequire=$module/"$own" -dropreplace=$module/"$own"
    done
    go mod tidy
  )
}

rm -rf "$out"
for name in "${functions[@]}"; do
  copy "functions/$name" "$out/$name"
  (cd "functions/$name" && go list -deps .) | sed -n "s|^$module/||p" | while read -r package; do
    case $package in
      "functions/$name") ;;
      "functions/$name"/*) # a package of its own, where its import path is
        mkdir -p "$(dirname "$out/$name/$package")"
        mv "$out/$name/${package#"functions/$name/"}" "$out/$name/$package"
        ;;
      *) copy "$package" "$out/$name/$package" ;;
    esac
  done
  write_module "$out/$name" "functions/$name/go.mod"
  echo "staged $out/$name"
done

# The all-in-one: the root's function, the functions' folders, shared, and the
# manifests that it routes by.
mkdir -p "$out/m7pulse/infra"
cp -r infra/knative "$out/m7pulse/infra/"
cp function.go func.yaml "$out/m7pulse/"
copy shared "$out/m7pulse/shared"
for name in "${functions[@]}"; do
  copy "functions/$name" "$out/m7pulse/functions/$name"
  rm "$out/m7pulse/functions/$name/func.yaml"
done
write_module "$out/m7pulse" go.mod
echo "staged $out/m7pulse"
