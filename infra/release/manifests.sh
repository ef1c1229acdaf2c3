#!/usr/bin/env bash
# Writes what `kubectl apply -f` needs to .build/release/m7pulse-production.yaml:
# the production overlay with the images of the release that is named.
#
#   manifests.sh TAG
set -euo pipefail
tag=${1:?the tag of a release}
cd "$(dirname "$0")/../.."
out=.build/release
rm -rf "$out" && mkdir -p "$out/overlay"
overlay=infra/deploy/production/kustomization.yaml
{
  printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - ../../../infra/deploy/production\nimages:\n'
  sed -n 's/^ *newName: \(.*\)/\1/p' "$overlay" | while read -r image; do
    printf '  - name: %s\n    newTag: %s\n' "$image" "$tag"
  done
} > "$out/overlay/kustomization.yaml"
go run sigs.k8s.io/kustomize/kustomize/v5@v5.8.1 build "$out/overlay" > "$out/m7pulse-production.yaml"
rm -r "$out/overlay"
echo "$out/m7pulse-production.yaml: $(grep -c '^kind:' "$out/m7pulse-production.yaml") objects"
