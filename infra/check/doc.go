// Package check holds what is deployed against those who will read it: the
// manifests against the Go types of Kubernetes and Knative and their own
// Validate, func.yaml against func's published schema, the compose file against
// Compose's own reader. It is tests only, and a module of its own, outside
// go.work, so that none of this reaches what the product links.
package check
