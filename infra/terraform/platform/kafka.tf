locals {
  strimzi = "0.50.0" # as infra/kind/up.sh

  msk = nonsensitive(var.aws.kafka) == "msk"

  # Strimzi's Kafka, as infra/deploy/production wants it: three brokers or more, TLS
  # and a password on 9093, no topic that nobody declared.
  kafka = [
    yamlencode({
      apiVersion = "kafka.strimzi.io/v1beta2"
      kind       = "KafkaNodePool"
      metadata   = { name = "broker", namespace = "m7pulse", labels = { "strimzi.io/cluster" = "m7pulse" } }
      spec = {
        replicas = var.brokers.count
        roles    = ["controller", "broker"]
        storage = {
          type    = "jbod"
          volumes = [{ id = 0, type = "persistent-claim", size = "${var.brokers.disk}Gi", deleteClaim = false, kraftMetadata = "shared" }]
        }
        resources = {
          requests = { cpu = var.brokers.cpu, memory = var.brokers.memory }
          limits   = { memory = var.brokers.memory }
        }
        template = { pod = { topologySpreadConstraints = [{
          maxSkew           = 1
          topologyKey       = "topology.kubernetes.io/zone"
          whenUnsatisfiable = "DoNotSchedule"
          labelSelector     = { matchLabels = { "strimzi.io/cluster" = "m7pulse", "strimzi.io/pool-name" = "broker" } }
        }] } }
      }
    }),
    yamlencode({
      apiVersion = "kafka.strimzi.io/v1beta2"
      kind       = "Kafka"
      metadata   = { name = "m7pulse", namespace = "m7pulse" }
      spec = {
        kafka = {
          version = "4.1.1"
          listeners = [{
            name           = "tls"
            port           = 9093
            type           = "internal"
            tls            = true
            authentication = { type = "scram-sha-512" }
          }]
          authorization = { type = "simple" }
          rack          = { topologyKey = "topology.kubernetes.io/zone" }
          config = {
            "auto.create.topics.enable"                = false
            "default.replication.factor"               = 3
            "min.insync.replicas"                      = 2
            "offsets.topic.replication.factor"         = 3
            "transaction.state.log.replication.factor" = 3
            "transaction.state.log.min.isr"            = 2
          }
        }
        entityOperator = { topicOperator = {}, userOperator = {} }
      }
    }),
    # What docs/deploy.md asks for, and no more.
    yamlencode({
      apiVersion = "kafka.strimzi.io/v1beta2"
      kind       = "KafkaUser"
      metadata   = { name = nonsensitive(var.aws.kafka_user), namespace = "m7pulse", labels = { "strimzi.io/cluster" = "m7pulse" } }
      spec = {
        authentication = {
          type     = "scram-sha-512"
          password = { valueFrom = { secretKeyRef = { name = "m7pulse", key = "KAFKA_SASL_PASSWORD" } } }
        }
        authorization = {
          type = "simple"
          acls = [
            { resource = { type = "topic", name = "github.", patternType = "prefix" }, operations = ["Read", "Write", "Describe", "DescribeConfigs"] },
            { resource = { type = "group", name = "m7pulse", patternType = "prefix" }, operations = ["Read", "Describe"] },
            { resource = { type = "transactionalId", name = "m7pulse", patternType = "prefix" }, operations = ["Write", "Describe"] },
            { resource = { type = "cluster" }, operations = ["Describe", "DescribeConfigs", "IdempotentWrite"] },
          ]
        }
      }
    }),
  ]

  # With MSK, Strimzi's topic operator alone makes the topics, there.
  topics = split("\n---\n", templatefile("${path.module}/topics.yaml.tftpl", {
    version = local.strimzi
    brokers = nonsensitive(var.aws.kafka_brokers)
  }))
}

# The operator, and the types of topics and Kafkas.
resource "helm_release" "strimzi" {
  name       = "strimzi"
  namespace  = kubernetes_namespace_v1.m7pulse.metadata[0].name
  repository = "https://strimzi.io/charts/"
  chart      = "strimzi-kafka-operator"
  version    = local.strimzi
  atomic     = true
  timeout    = 600
}

resource "helm_release" "kafka" {
  name      = "kafka"
  namespace = kubernetes_namespace_v1.m7pulse.metadata[0].name
  chart     = "${path.module}/chart"
  values    = [yamlencode({ manifests = local.msk ? local.topics : local.kafka })]
  timeout   = 600

  depends_on = [helm_release.strimzi, kubernetes_secret_v1.m7pulse]
}
