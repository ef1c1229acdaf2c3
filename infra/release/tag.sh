#!/usr/bin/env bash
# Makes the commit and the tags of a release of HEAD, and pushes nothing:
#
#   tag.sh v1.2.3
#
# `go install` refuses a module that has a `replace`, and main needs them
# (docs/adr/0004-replace-in-go-mod.md). So a release is a commit beside main whose
# modules require each other at its version, and each module has a tag of its own.
set -euo pipefail
tag=${1:?the version: v1.2.3}
cd "$(dirname "$0")/../.."
[[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || { echo "tag.sh: $tag: want v1.2.3" >&2; exit 2; }
[ -z "$(git status --porcelain)" ] || { echo "tag.sh: the tree has changes: commit them first" >&2; exit 1; }
here=$PWD
work=$(mktemp -d)
trap 'git -C "$here" worktree remove --force "$work/tree" 2>/dev/null; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/tree"
cd "$work/tree"

path=$(GOWORK=off go list -m -f '{{.Path}}')
# Those that an installed pulse is made of. The others are for tests.
modules=(. shared infra/collector infra/local/github)
for f in functions/*/go.mod; do modules+=("$(dirname "$f")"); done
for module in "${modules[@]}"; do
  args=()
  while read -r required; do
    args+=("-dropreplace=$required" "-require=$required@$tag")
  done < <(awk -v own="$path" '$1 == "replace" && index($2, own) == 1 { print $2 }' "$module/go.mod")
  [ ${#args[@]} = 0 ] || (cd "$module" && go mod edit "${args[@]}")
done
git commit --quiet --all --allow-empty --message "Release $tag"
git tag --annotate --message "Release $tag" "$tag"
of_modules=()
for module in "${modules[@]:1}"; do
  git tag --annotate --message "Release $tag of $module" "$module/$tag"
  of_modules+=("$module/$tag")
done
# GitHub starts no workflow for tags of which more than three are pushed at once, so
# the one that starts the release goes last.
echo "git push origin ${of_modules[*]}"
echo "git push origin $tag"
