# Run as strimzi.tftest.hcl, with MSK's addresses instead of Strimzi's.
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
    kafka          = "msk"
    kafka_brokers  = "b-1.invalid:9096,b-2.invalid:9096,b-3.invalid:9096"
    kafka_user     = "m7pulse-functions"
    kafka_password = "secret-of-kafka"
  }
  schema_registry_url   = "http://schema-registry.m7pulse.svc.cluster.local:8081/apis/ccompat/v7"
  clickhouse_url        = "http://pulse:secret-of-clickhouse@clickhouse.m7pulse.svc.cluster.local:8123"
  clickhouse_reader_url = "http://reader:secret-of-the-reader@clickhouse.m7pulse.svc.cluster.local:8123"
  github_token          = "secret-of-github"
}

run "functions_and_sources_speak_to_msk" {
  assert {
    condition = alltrue([for m in yamldecode(helm_release.m7pulse.values[0]).manifests :
      yamldecode(m).spec.bootstrapServers == ["b-1.invalid:9096", "b-2.invalid:9096", "b-3.invalid:9096"] &&
      yamldecode(m).spec.net.tls == { enable = true } && yamldecode(m).spec.net.sasl.enable
    if yamldecode(m).kind == "KafkaSource"])
    error_message = "A source speaks to Strimzi's Kafka, or trusts its authority."
  }
  assert {
    condition     = [for m in yamldecode(helm_release.m7pulse.values[0]).manifests : yamldecode(m).data.KAFKA_BROKERS if yamldecode(m).kind == "ConfigMap"] == ["b-1.invalid:9096,b-2.invalid:9096,b-3.invalid:9096"]
    error_message = "The functions speak to another Kafka."
  }
  assert {
    condition     = !strcontains(helm_release.m7pulse.values[0], "m7pulse-cluster-ca-cert") && !strcontains(helm_release.m7pulse.values[0], "SSL_CERT_DIR")
    error_message = "A function waits for a Secret that only Strimzi makes."
  }
  assert {
    condition = length([for m in yamldecode(helm_release.m7pulse.values[0]).manifests : 1 if startswith(yamldecode(m).apiVersion, "serving.") && length(yamldecode(m).spec.template.spec.containers[0].env) > 5]) == length(
    [for d in split("\n---\n", file(var.manifests)) : 1 if startswith(yamldecode(d).apiVersion, "serving.")])
    error_message = "A function has lost its settings."
  }
  assert {
    condition     = [for m in yamldecode(helm_release.m7pulse.values[0]).manifests : yamldecode(m).spec.egress[0] if yamldecode(m).metadata.name == "aws-kafka"] == [{ to = [{ ipBlock = { cidr = "10.70.0.0/16" } }], ports = [{ protocol = "TCP", port = 9096 }] }]
    error_message = "The functions may not speak to MSK."
  }
}

run "topics_are_made_there" {
  assert {
    condition     = sort([for m in yamldecode(helm_release.kafka.values[0]).manifests : yamldecode(m).kind]) == tolist(["Deployment", "Role", "RoleBinding", "ServiceAccount"])
    error_message = "There is a Kafka beside MSK, or nobody makes the topics."
  }
  assert {
    condition     = one([for m in yamldecode(helm_release.kafka.values[0]).manifests : { for e in yamldecode(m).spec.template.spec.containers[0].env : e.name => try(e.value, "") } if yamldecode(m).kind == "Deployment"])["STRIMZI_KAFKA_BOOTSTRAP_SERVERS"] == "b-1.invalid:9096,b-2.invalid:9096,b-3.invalid:9096"
    error_message = "Topics are made elsewhere."
  }
}
