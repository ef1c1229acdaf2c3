locals {
  documents = [for d in split("\n---\n", file(var.manifests)) : yamldecode(d)]
  namespace = one([for d in local.documents : d if d.kind == "Namespace" && d.metadata.name == "m7pulse"])
  quiet     = nonsensitive(var.signals == "")

  # What is known only now. Nothing of it is secret.
  config = merge({
    KAFKA_BROKERS       = nonsensitive(var.aws.kafka_brokers)
    ICEBERG_CATALOG_URI = var.catalog_uri
    ICEBERG_WAREHOUSE   = "s3://${nonsensitive(var.aws.bucket)}"
    S3_ENDPOINT         = "https://s3.${nonsensitive(var.aws.region)}.amazonaws.com"
    S3_REGION           = nonsensitive(var.aws.region)
  }, var.owners == "" ? {} : { OWNERS = var.owners })

  # MSK's certificates are of an authority that every image knows: what production
  # mounts for Strimzi's own is taken out.
  manifests = [
    for d in local.documents :
    d.kind == "ConfigMap" && d.metadata.name == "m7pulse" ? yamlencode(merge(d, { data = merge(d.data, local.config) })) :
    local.msk && d.kind == "KafkaSource" ? yamlencode(merge(d, { spec = merge(d.spec, {
      bootstrapServers = split(",", local.config.KAFKA_BROKERS)
      net              = merge(d.spec.net, { tls = { enable = true } })
    }) })) :
    local.msk && startswith(d.apiVersion, "serving.knative.dev/") ? yamlencode(merge(d, { spec = merge(d.spec, { template = merge(d.spec.template, { spec = merge(
      { for k, v in d.spec.template.spec : k => v if k != "volumes" },
      { containers = [for c in d.spec.template.spec.containers : merge(
        { for k, v in c : k => v if k != "volumeMounts" },
        { env = [for e in c.env : e if e.name != "SSL_CERT_DIR"] }
      )] }
    ) }) }) })) :
    yamlencode(d)
    if d.kind != "Namespace" && !(local.quiet && contains(["signals-to-notify", "wake-notify"], d.metadata.name))
  ]

  # The policies of infra/deploy/access let the functions speak to pods. Here Redis,
  # the warehouse, and with MSK Kafka, are not pods.
  with_redis = ["fetch-org", "fetch-events", "aggregate", "sink-clickhouse", "notify"]
  with_kafka = concat(local.with_redis, ["sink-iceberg"])
  reach = concat(
    [
      { name = "redis", functions = local.with_redis, to = [nonsensitive(var.aws.cidr)], port = 6379 },
      { name = "warehouse", functions = ["sink-iceberg"], to = nonsensitive(var.aws.s3_cidrs), port = 443 },
      { name = "warehouse-credentials", functions = ["sink-iceberg"], to = ["169.254.170.23/32"], port = 80 },
    ],
    local.msk ? [{ name = "kafka", functions = local.with_kafka, to = [nonsensitive(var.aws.cidr)], port = 9096 }] : []
  )
  policies = [
    for r in local.reach : yamlencode({
      apiVersion = "networking.k8s.io/v1"
      kind       = "NetworkPolicy"
      metadata   = { name = "aws-${r.name}", namespace = "m7pulse" }
      spec = {
        podSelector = { matchExpressions = [{ key = "serving.knative.dev/service", operator = "In", values = r.functions }] }
        policyTypes = ["Egress"]
        egress = [{
          to    = [for c in r.to : { ipBlock = { cidr = c } }]
          ports = [{ protocol = "TCP", port = r.port }]
        }]
      }
    })
  ]
}

resource "kubernetes_namespace_v1" "m7pulse" {
  metadata {
    name   = local.namespace.metadata.name
    labels = local.namespace.metadata.labels
  }
}

# docs/deploy.md lists the keys. Those of S3 are empty: the pods of sink-iceberg and
# of the catalog have a role instead, and no key that could be stolen.
resource "kubernetes_secret_v1" "m7pulse" {
  metadata {
    name      = "m7pulse"
    namespace = kubernetes_namespace_v1.m7pulse.metadata[0].name
  }

  data = {
    KAFKA_SASL_MECHANISM  = "SCRAM-SHA-512"
    KAFKA_SASL_USER       = var.aws.kafka_user
    KAFKA_SASL_PASSWORD   = var.aws.kafka_password
    SCHEMA_REGISTRY_URL   = var.schema_registry_url
    REDIS_URL             = var.aws.redis_url
    CLICKHOUSE_URL        = var.clickhouse_url
    CLICKHOUSE_READER_URL = var.clickhouse_reader_url
    API_KEYS              = var.api_keys
    S3_ACCESS_KEY_ID      = ""
    S3_SECRET_ACCESS_KEY  = ""
    GITHUB_TOKEN          = var.github_token
    SIGNALS               = var.signals
  }
}

resource "helm_release" "m7pulse" {
  name      = "m7pulse"
  namespace = kubernetes_namespace_v1.m7pulse.metadata[0].name
  chart     = "${path.module}/chart"
  values    = [yamlencode({ manifests = concat(local.manifests, local.policies) })]
  timeout   = 900

  depends_on = [helm_release.knative, helm_release.kafka, kubernetes_secret_v1.m7pulse]
}

output "namespace" {
  description = "Where the functions are."
  value       = kubernetes_namespace_v1.m7pulse.metadata[0].name
}

output "kafka_brokers" {
  description = "Kafka, from inside of the cluster: TLS, SCRAM-SHA-512."
  value       = local.config.KAFKA_BROKERS
}
