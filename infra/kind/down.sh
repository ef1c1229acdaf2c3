#!/usr/bin/env bash
# Takes away what up.sh made, data included.
set -euo pipefail
exec go run sigs.k8s.io/kind@v0.31.0 delete cluster --name m7pulse
