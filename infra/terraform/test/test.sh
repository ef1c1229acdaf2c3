#!/usr/bin/env bash
# Checks both roots and the examples without a cloud: by tflint, then format, validity,
# and what tests/*.tftest.hcl assert, by OpenTofu, both built from their Go modules,
# against providers that have the real ones' names and types and nothing else (standin).
# Needs Go and npm; the first time 10 minutes of CPU, which TOFU=a program that is
# there already saves.
set -euo pipefail
cd "$(dirname "$0")"

# Parts of tflint are under the Business Source License: it is run here, and is in nothing
# that the project gives away.
TFLINT=github.com/terraform-linters/tflint@v0.64.0
KUSTOMIZE=sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
cache=${PULSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/m7pulse}/opentofu
GO=${GO:-go}
export CGO_ENABLED=0 GOWORK=off GOFLAGS='-mod=readonly -trimpath'

command -v npm >/dev/null || { echo "SKIPPED: Terraform was not checked: npm is not on PATH" >&2; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache" "$work/bin"

if [ -n "${TOFU:-}" ]; then
  ln -s "$(command -v "$TOFU")" "$work/bin/tofu"
else
  echo "OpenTofu: building it, 10 minutes of CPU the first time"
  $GO build -ldflags='-s -w' -o "$work/bin/tofu" github.com/opentofu/opentofu/cmd/tofu
fi
$GO build -o "$work/bin/standin" ./standin
PATH=$work/bin:$PATH

# Each root as each example fills it. It asks for no provider, so it needs no init.
GOFLAGS=-trimpath GOBIN=$work/bin $GO install "$TFLINT"
for file in ../examples/*/*.tfvars; do
  root=$(basename "$file" .tfvars)
  echo "== tflint: $root, as $(basename "$(dirname "$file")")"
  "$work/bin/tflint" --config="$PWD/../.tflint.hcl" --chdir="../$root" --var-file="$PWD/$file" --call-module-type=all
done

# package NAME VERSION DIGEST: a package of npm, in the cache, checked by its digest.
package() {
  local file=$cache/$1-$2.tgz
  if [ ! -f "$file" ]; then
    (cd "$work" && npm pack --silent "@cdktf/$1@$2" >/dev/null)
    mv "$work/cdktf-$1-$2.tgz" "$file"
  fi
  if [ "$(openssl dgst -sha512 -binary "$file" | base64 -w0)" != "$3" ]; then
    rm "$file"
    echo "@cdktf/$1@$2 is not what it was" >&2
    exit 1
  fi
  echo "$file"
}

# provider NAME VERSION CDKTF DIGEST: a stand-in of hashicorp/NAME, with the types
# that the roots use.
provider() {
  local name=$1 version=$2 dir file types
  dir=$work/providers/registry.opentofu.org/hashicorp/$name/$version/$($GO env GOOS)_$($GO env GOARCH)
  file=$(package "provider-$name" "$3" "$4")
  mapfile -t types < <(
    cat ../aws/*.tf ../platform/*.tf |
      sed -nE "s/^(resource|data) \"(${name}_[a-z0-9_]+|${name})\" .*/\1\/\2/p" | sort -u
  )
  grep -qE "version += \"$version\"" ../aws/versions.tf ../platform/versions.tf || { echo "$name: the roots want another version than $version" >&2; exit 1; }
  mkdir -p "$dir"
  standin schema "$file" "$name" "${types[@]}" >"$dir/schema.json"
  cp "$work/bin/standin" "$dir/terraform-provider-$name"
}
provider aws 6.25.0 21.22.1 BuSHeaQFUL9l33pBzIMRT7cTQ69AM2mLtijjteCPhVQRmvuhuj9Lvfymf7knAMhYqAT6+Lrls9jiGVW/Us3zrQ==
provider random 3.7.2 12.0.1 yE9fteVRxekOl6MhJeM6sac1VkljCwGFrZxozq0aE11zTBmB4oQBr3nk9Z1A2C5C3IB/0jKmabYDNPqgrZDfNw==
provider helm 3.1.1 12.1.2 QFLfD6e5djSiuw5o63JTaVjLTzUrcXW4rT6zdcvIHfjrqcUJT+Yc8cfhLTVVr5p+fRYrB90b6j8YogBEsLj+5A==
provider kubernetes 2.38.0 12.1.1 faZ/zydCsDBYwXqq3douhxSf8KFJfTUixYDr5hg0uCA8FExRK3+w27JUrt6gAVHFBuOVsKthObdqtTmP3PzQSQ==

cat >"$work/tofurc" <<RC
provider_installation {
  filesystem_mirror {
    path = "$work/providers"
  }
}
RC
export TF_CLI_CONFIG_FILE=$work/tofurc CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1

tofu fmt -check -recursive -diff ..
manifests=$work/manifests.yaml
if command -v kubectl >/dev/null; then
  kubectl kustomize ../../deploy/production >"$manifests"
else
  GOFLAGS=-trimpath $GO run $KUSTOMIZE build ../../deploy/production >"$manifests"
fi

# In a copy: init leaves files behind.
mkdir "$work/terraform"
cp -r ../aws ../platform ../examples "$work/terraform"
cd "$work/terraform"
for root in aws platform; do
  echo "== $root"
  tofu -chdir="$root" init -backend=false -input=false >/dev/null
  tofu -chdir="$root" validate -no-color
done

# A variable that an example gives and no root has is only a warning to OpenTofu.
for file in examples/*/*.tfvars; do
  root=$(basename "$file" .tfvars)
  sed -nE 's/^([a-z_]+) *=.*/\1/p' "$file" | while read -r name; do
    grep -q "^variable \"$name\" {" "$root/variables.tf" || { echo "$file gives $name, which $root does not have" >&2; exit 1; }
  done
done

checks() { # checks ROOT EXAMPLE TEST…
  local root=$1 example=$2 t
  shift 2
  for t in "$@"; do
    echo "== $root, as $example: $t"
    tofu -chdir="$root" test -no-color -var-file="../examples/$example/$root.tfvars" -filter="tests/$t.tftest.hcl" \
      ${more[@]+"${more[@]}"}
  done
}
more=()
checks aws small small refused
checks aws large large
checks aws medium refused
more=(-var "manifests=$manifests")
checks platform small strimzi refused
checks platform medium strimzi
checks platform large strimzi msk
