package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed manifests/ingress.yaml
var ingressManifest string

// ingressClass is that of infra/cluster/knative/ingress.
const ingressClass = "m7pulse.ingress.networking.knative.dev"

// applyKnative applies the manifests that come with Knative's modules, in the order
// in which their parts need each other, and waits until all that is deployed is
// available.
func (n *node) applyKnative(ctx context.Context) error {
	module := map[string]string{}
	for _, name := range []string{"serving", "eventing", "networking", "caching"} {
		dir, err := output(n.goCommand(ctx, n.dir("knative"), "list", "-m", "-f", "{{.Dir}}", "knative.dev/"+name))
		if err != nil {
			return err
		}
		module[name] = dir + "/config"
	}
	serving, eventing := module["serving"]+"/core/", module["eventing"]+"/core/"
	definitions := []string{
		serving + "300-resources/*.yaml", module["networking"] + "/certificate.yaml", module["networking"] + "/domain-claim.yaml",
		module["networking"] + "/ingress.yaml", module["networking"] + "/serverlessservice.yaml", module["caching"] + "/image.yaml",
		eventing + "resources/*.yaml",
	}
	if err := n.apply(ctx, "", definitions...); err != nil {
		return err
	}
	if _, err := n.kubectl(ctx, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		return err
	}
	err := n.apply(ctx, "", serving+"100-namespace.yaml", serving+"200-roles/*.yaml", serving+"200-serviceaccount.yaml", serving+"configmaps/*.yaml",
		module["networking"]+"/config-network.yaml", serving+"999-cache.yaml",
		eventing+"100-namespace.yaml", eventing+"200-*.yaml", eventing+"roles/*.yaml", eventing+"configmaps/*.yaml")
	if err != nil {
		return err
	}
	for _, s := range []struct{ namespace, name, data string }{
		{"knative-serving", "config-network", `{"ingress-class":"` + ingressClass + `"}`},
		{"knative-serving", "config-domain", `{"example.com":""}`},
		// The product says how long an idle pod stays; what follows is waiting alone.
		{"knative-serving", "config-autoscaler", `{"scale-to-zero-grace-period":"6s"}`},
	} {
		if _, err := n.kubectl(ctx, "", "--namespace", s.namespace, "patch", "configmap", s.name, "--type", "merge", "--patch", `{"data":`+s.data+`}`); err != nil {
			return err
		}
	}
	if err := n.apply(ctx, ingressManifest+eventingImages,
		serving+"deployments/activator.yaml", serving+"deployments/autoscaler.yaml", serving+"deployments/controller.yaml", serving+"deployments/webhook.yaml",
		serving+"webhooks/*.yaml",
		eventing+"deployments/controller.yaml", eventing+"deployments/webhook.yaml", eventing+"deployments/pingsource-mt-adapter.yaml", eventing+"webhooks/*.yaml"); err != nil {
		return err
	}
	return n.waitKnative(ctx)
}

// waitKnative waits until all of Knative and its ingress is available.
func (n *node) waitKnative(ctx context.Context) error {
	for _, namespace := range []string{"ingress", "knative-serving", "knative-eventing"} {
		if _, err := n.kubectl(ctx, "", "--namespace", namespace, "wait", "--for=condition=Available", "deployments", "--all", "--timeout=600s"); err != nil {
			return err
		}
	}
	return nil
}

// eventingImages are two ConfigMaps that Eventing's controller reads. Neither a
// PingSource nor a KafkaSource uses what they name.
const eventingImages = `
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: eventing-transformations-images
  namespace: knative-eventing
data:
  transform-jsonata: dev.local/none
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: eventing-integrations-images
  namespace: knative-eventing
data:
  timer-source: dev.local/none
  aws-s3-source: dev.local/none
  aws-sqs-source: dev.local/none
  aws-ddb-streams-source: dev.local/none
  log-sink: dev.local/none
  aws-s3-sink: dev.local/none
  aws-sqs-sink: dev.local/none
  aws-sns-sink: dev.local/none
`

// apply applies a manifest and files, all at once.
func (n *node) apply(ctx context.Context, manifest string, patterns ...string) error {
	all := []string{manifest}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		if len(paths) == 0 {
			return fmt.Errorf("no file %s", pattern)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all = append(all, string(text))
		}
	}
	_, err := n.kubectl(ctx, imaged(strings.Join(all, "\n---\n")), "apply", "--server-side", "--force-conflicts", "--filename", "-")
	return err
}
