# The versions of infra/kind/up.sh; infra/check holds the two to each other.
locals {
  knative_serving  = "1.23.0"
  knative_eventing = "1.23.0"
  knative_kafka    = "1.23.1"
  knative_operator = "v1.23.0"
  kubectl          = "registry.k8s.io/kubectl:v1.35.0"
}

resource "helm_release" "knative_operator" {
  name             = "knative-operator"
  namespace        = "knative-operator"
  create_namespace = true
  repository       = "https://knative.github.io/operator"
  chart            = "knative-operator"
  version          = local.knative_operator
  atomic           = true
  timeout          = 600
}

locals {
  source_url = "https://github.com/knative-extensions/eventing-kafka-broker/releases/download/knative-v${local.knative_kafka}"

  knative = [
    for n in ["knative-serving", "knative-eventing"] :
    yamlencode({ apiVersion = "v1", kind = "Namespace", metadata = { name = n } })
  ]

  knative_parts = [
    yamlencode({
      apiVersion = "operator.knative.dev/v1beta1"
      kind       = "KnativeServing"
      metadata   = { name = "knative-serving", namespace = "knative-serving" }
      spec = {
        version = local.knative_serving
        ingress = { kourier = { enabled = true } }
        config  = { network = { "ingress-class" = "kourier.ingress.networking.knative.dev" } }
      }
    }),
    yamlencode({
      apiVersion = "operator.knative.dev/v1beta1"
      kind       = "KnativeEventing"
      metadata   = { name = "knative-eventing", namespace = "knative-eventing" }
      spec = {
        version = local.knative_eventing
        additionalManifests = [
          { URL = "${local.source_url}/eventing-kafka-controller.yaml" },
          { URL = "${local.source_url}/eventing-kafka-source.yaml" },
        ]
      }
    }),
  ]

  # The operator makes the types that our services are of. Until it has, nothing of
  # them can be applied: so this release ends when Knative says that it is ready.
  waiting = [
    yamlencode({
      apiVersion = "v1"
      kind       = "ServiceAccount"
      metadata   = { name = "knative-ready", namespace = "knative-operator" }
    }),
    yamlencode({
      apiVersion = "rbac.authorization.k8s.io/v1"
      kind       = "ClusterRole"
      metadata   = { name = "knative-ready" }
      rules      = [{ apiGroups = ["operator.knative.dev"], resources = ["knativeservings", "knativeeventings"], verbs = ["get", "list", "watch"] }]
    }),
    yamlencode({
      apiVersion = "rbac.authorization.k8s.io/v1"
      kind       = "ClusterRoleBinding"
      metadata   = { name = "knative-ready" }
      roleRef    = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "knative-ready" }
      subjects   = [{ kind = "ServiceAccount", name = "knative-ready", namespace = "knative-operator" }]
    }),
    yamlencode({
      apiVersion = "batch/v1"
      kind       = "Job"
      # A Job cannot be changed: another version is another Job.
      metadata = { name = "knative-ready-${replace("${local.knative_serving}-${local.knative_kafka}", ".", "-")}", namespace = "knative-operator" }
      spec = {
        backoffLimit          = 2
        activeDeadlineSeconds = 900
        template = { spec = {
          serviceAccountName = "knative-ready"
          restartPolicy      = "Never"
          containers = [
            for kind, in_namespace in { knativeserving = "knative-serving", knativeeventing = "knative-eventing" } : {
              name                                     = kind
              image                                    = local.kubectl
              args                                     = ["wait", "--for=condition=Ready", "--timeout=12m", "--namespace=${in_namespace}", "${kind}/${in_namespace}"]
              resources                                = { requests = { cpu = "10m", memory = "64Mi" }, limits = { memory = "128Mi" } }
              securityContext                          = { allowPrivilegeEscalation = false, runAsNonRoot = true, runAsUser = 65532, readOnlyRootFilesystem = true, capabilities = { drop = ["ALL"] } }
            }
          ]
        } }
      }
    }),
  ]
}

resource "helm_release" "knative" {
  name          = "knative"
  namespace     = "knative-operator"
  chart         = "${path.module}/chart"
  values        = [yamlencode({ manifests = concat(local.knative, local.knative_parts, local.waiting) })]
  wait_for_jobs = true
  timeout       = 1200

  depends_on = [helm_release.knative_operator]
}
