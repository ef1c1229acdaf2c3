# Run with -var-file=../examples/small/platform.tfvars and the manifests of
# infra/deploy/production. Providers are mocked.
mock_provider "helm" {}
mock_provider "kubernetes" {}

variables {
  aws = {
    region         = "eu-central-1"
    cidr           = "10.70.0.0/16"
    cluster        = "m7pulse"
    endpoint       = "https://example.invalid"
    authority      = "Y2VydGlmaWNhdGU="
    bucket         = "warehouse-of-the-test"
    s3_cidrs       = ["3.5.0.0/16", "52.219.0.0/16"]
    redis_url      = "rediss://:secret-of-redis@redis.invalid:6379/0"
    kafka          = "strimzi"
    kafka_brokers  = "m7pulse-kafka-bootstrap.m7pulse.svc.cluster.local:9093"
    kafka_user     = "m7pulse-functions"
    kafka_password = "secret-of-kafka"
  }
  schema_registry_url   = "http://schema-registry.m7pulse.svc.cluster.local:8081/apis/ccompat/v7"
  clickhouse_url        = "http://pulse:secret-of-clickhouse@clickhouse.m7pulse.svc.cluster.local:8123"
  clickhouse_reader_url = "http://reader:secret-of-the-reader@clickhouse.m7pulse.svc.cluster.local:8123"
  github_token          = "secret-of-github"
}

run "secret" {
  assert {
    condition = toset(keys(nonsensitive(kubernetes_secret_v1.m7pulse.data))) == toset([
      "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD", "SCHEMA_REGISTRY_URL", "REDIS_URL", "CLICKHOUSE_URL",
      "CLICKHOUSE_READER_URL", "API_KEYS", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SIGNALS",
    ])
    error_message = "The Secret's keys are not those of docs/deploy.md."
  }
  assert {
    condition     = nonsensitive(kubernetes_secret_v1.m7pulse.data["REDIS_URL"]) == "rediss://:secret-of-redis@redis.invalid:6379/0" && nonsensitive(kubernetes_secret_v1.m7pulse.data["KAFKA_SASL_PASSWORD"]) == "secret-of-kafka"
    error_message = "The Secret has other values than those of AWS."
  }
  assert {
    condition     = kubernetes_secret_v1.m7pulse.metadata[0].name == "m7pulse" && kubernetes_secret_v1.m7pulse.metadata[0].namespace == "m7pulse"
    error_message = "The Secret is not where the functions look for it."
  }
  assert {
    condition     = !strcontains(join("", concat(helm_release.m7pulse.values, helm_release.kafka.values, helm_release.knative.values)), "secret-of-")
    error_message = "A password is in a release, which who may read releases may read."
  }
}

run "kafka" {
  assert {
    condition     = [for m in yamldecode(helm_release.kafka.values[0]).manifests : yamldecode(m).spec.replicas if yamldecode(m).kind == "KafkaNodePool"] == [3]
    error_message = "Not three brokers."
  }
  assert {
    condition = alltrue([for m in yamldecode(helm_release.kafka.values[0]).manifests :
      yamldecode(m).spec.kafka.config["min.insync.replicas"] == 2 && yamldecode(m).spec.kafka.config["default.replication.factor"] == 3 &&
      yamldecode(m).spec.kafka.config["transaction.state.log.min.isr"] == 2 && yamldecode(m).spec.kafka.config["auto.create.topics.enable"] == false &&
      [for l in yamldecode(m).spec.kafka.listeners : "${l.port} ${l.tls} ${l.authentication.type}"] == ["9093 true scram-sha-512"]
    if yamldecode(m).kind == "Kafka"])
    error_message = "A record may be lost with one broker, or Kafka has a door without TLS or password."
  }
  assert {
    condition = alltrue(flatten([for m in yamldecode(helm_release.kafka.values[0]).manifests : [for a in yamldecode(m).spec.authorization.acls :
      contains(["topic github. prefix", "group m7pulse prefix", "transactionalId m7pulse prefix", "cluster"], join(" ", compact([a.resource.type, try(a.resource.name, ""), try(a.resource.patternType, "")]))) &&
      length(setintersection(a.operations, ["All", "Delete", "Alter", "AlterConfigs", "Create", "ClusterAction"])) == 0
    ] if yamldecode(m).kind == "KafkaUser"]))
    error_message = "The functions' Kafka user may do more than docs/deploy.md asks for."
  }
  assert {
    condition     = sort([for m in yamldecode(helm_release.kafka.values[0]).manifests : yamldecode(m).kind]) == tolist(["Kafka", "KafkaNodePool", "KafkaUser"])
    error_message = "Not a Kafka with its pool and its user."
  }
}

run "manifests" {
  assert {
    condition = [for m in yamldecode(helm_release.m7pulse.values[0]).manifests : yamldecode(m).data if yamldecode(m).kind == "ConfigMap"][0] == merge(
      [for d in split("\n---\n", file(var.manifests)) : yamldecode(d).data if yamldecode(d).kind == "ConfigMap"][0],
      {
        ICEBERG_WAREHOUSE = "s3://warehouse-of-the-test"
        S3_ENDPOINT       = "https://s3.eu-central-1.amazonaws.com"
        S3_REGION         = "eu-central-1"
      }
    )
    error_message = "The ConfigMap is not that of production with the warehouse of AWS."
  }
  assert {
    condition = toset([for m in yamldecode(helm_release.m7pulse.values[0]).manifests : "${yamldecode(m).kind}/${yamldecode(m).metadata.name}" if !startswith(yamldecode(m).metadata.name, "aws-")]) == setsubtract(
      [for d in split("\n---\n", file(var.manifests)) : "${yamldecode(d).kind}/${yamldecode(d).metadata.name}"],
      ["Namespace/m7pulse", "KafkaSource/signals-to-notify", "PingSource/wake-notify"]
    )
    error_message = "Something of production is missing; or notify, which has nothing to send, is woken."
  }
  assert {
    condition     = kubernetes_namespace_v1.m7pulse.metadata[0].labels["pod-security.kubernetes.io/enforce"] == "baseline"
    error_message = "The namespace has other labels than infra/knative says."
  }
  assert {
    condition = { for m in yamldecode(helm_release.m7pulse.values[0]).manifests : yamldecode(m).metadata.name => [
      for p in yamldecode(m).spec.egress[0].to : "${p.ipBlock.cidr}:${yamldecode(m).spec.egress[0].ports[0].port}"
      ] if startswith(yamldecode(m).metadata.name, "aws-") } == {
      "aws-redis"                 = ["10.70.0.0/16:6379"]
      "aws-warehouse"             = ["3.5.0.0/16:443", "52.219.0.0/16:443"]
      "aws-warehouse-credentials" = ["169.254.170.23/32:80"]
    }
    error_message = "The functions reach something else than Redis and the warehouse."
  }
  assert {
    condition     = [for m in yamldecode(helm_release.m7pulse.values[0]).manifests : yamldecode(m).spec.podSelector.matchExpressions[0].values if startswith(yamldecode(m).metadata.name, "aws-warehouse")] == [["sink-iceberg"], ["sink-iceberg"]]
    error_message = "Another function than sink-iceberg reaches the warehouse."
  }
}

run "knative" {
  assert {
    condition = { for m in yamldecode(helm_release.knative.values[0]).manifests : yamldecode(m).kind => yamldecode(m).spec.version if startswith(yamldecode(m).kind, "Knative") } == {
      KnativeServing  = local.knative_serving
      KnativeEventing = local.knative_eventing
    }
    error_message = "Not the Knative that was meant."
  }
  assert {
    condition     = helm_release.knative.wait_for_jobs && length([for m in yamldecode(helm_release.knative.values[0]).manifests : 1 if yamldecode(m).kind == "Job"]) == 1
    error_message = "The functions are applied before Knative is ready."
  }
}

run "who_has_signals_gets_notify" {
  variables {
    signals = "targets: []"
    owners  = "acme=acme,apple=apple"
  }
  assert {
    condition     = length(setintersection(["signals-to-notify", "wake-notify"], [for m in yamldecode(helm_release.m7pulse.values[0]).manifests : yamldecode(m).metadata.name])) == 2
    error_message = "notify is not woken though there are signals to send."
  }
  assert {
    condition     = [for m in yamldecode(helm_release.m7pulse.values[0]).manifests : yamldecode(m).data.OWNERS if yamldecode(m).kind == "ConfigMap"] == ["acme=acme,apple=apple"]
    error_message = "Others are swept."
  }
}
