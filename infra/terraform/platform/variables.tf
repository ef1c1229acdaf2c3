variable "aws" {
  description = "The output platform of ../aws."
  sensitive   = true
  type = object({
    region         = string
    cidr           = string
    cluster        = string
    endpoint       = string
    authority      = string
    bucket         = string
    s3_cidrs       = list(string)
    redis_url      = string
    kafka          = string
    kafka_brokers  = string
    kafka_user     = string
    kafka_password = string
  })

  validation {
    condition     = startswith(var.aws.redis_url, "rediss://")
    error_message = "aws: redis_url is not one with TLS."
  }
  validation {
    condition     = var.aws.kafka_user != "m7pulse"
    error_message = "aws: kafka_user: Strimzi writes a Secret of the user's name, and m7pulse is that of the functions."
  }
}

variable "manifests" {
  description = "The file that `kubectl kustomize infra/deploy/production` printed."
  type        = string

  validation {
    condition     = fileexists(var.manifests) && try(length(split("\n---\n", file(var.manifests))) > 1, false)
    error_message = "manifests: no such file, or not what `kubectl kustomize` prints."
  }
}

variable "brokers" {
  description = "Strimzi's Kafka: brokers, and the GiB, memory and CPU of each. Not used with msk."
  type = object({
    count  = optional(number, 3)
    disk   = optional(number, 20)
    memory = optional(string, "2Gi")
    cpu    = optional(string, "250m")
  })
  default = {}

  validation {
    condition     = var.brokers.count >= 3 && var.brokers.count <= 15 && var.brokers.disk >= 10 && var.brokers.disk <= 16384
    error_message = "brokers: 3 to 15, with 10 to 16384 GiB. Topics have three replicas, of which two acknowledge."
  }
  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.brokers.memory)) && can(regex("^[0-9]+m?$", var.brokers.cpu))
    error_message = "brokers: memory as 2Gi, cpu as 250m."
  }
}

variable "owners" {
  description = "Whom to sweep, as company=login,company=login; empty: those of infra/knative/config.yaml."
  type        = string
  default     = ""

  validation {
    condition     = var.owners == "" || can(regex("^[^=,\\s]+=[^=,\\s]+(,[^=,\\s]+=[^=,\\s]+)*$", var.owners))
    error_message = "owners: company=login,company=login."
  }
}

variable "catalog_uri" {
  description = "The REST catalog of Iceberg."
  type        = string
  default     = "http://nessie.m7pulse.svc.cluster.local:19120/iceberg/main"

  validation {
    condition     = can(regex("^https?://[^@]+$", var.catalog_uri))
    error_message = "catalog_uri: http:// or https://, without a password: it is no secret."
  }
}

variable "schema_registry_url" {
  description = "A schema registry with Confluent's interface, with user and password in the address."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^https?://.+", var.schema_registry_url))
    error_message = "schema_registry_url: http:// or https://."
  }
}

variable "clickhouse_url" {
  description = "ClickHouse, with user and password in the address."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^(https?|clickhouse)://[^:@/]+:[^@/]+@.+", var.clickhouse_url))
    error_message = "clickhouse_url: http://user:password@host:port, https:// or clickhouse://."
  }
}

variable "clickhouse_reader_url" {
  description = "ClickHouse, as the user who can only read."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^https?://[^:@/]+:[^@/]+@.+", var.clickhouse_reader_url)) && var.clickhouse_reader_url != var.clickhouse_url
    error_message = "clickhouse_reader_url: http://user:password@host:port, of another user than clickhouse_url."
  }
}

variable "github_token" {
  description = "One or several, separated by commas. They need no scope at all."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.github_token) > 0 && !can(regex("\\s", var.github_token))
    error_message = "github_token: one or several, separated by commas, without spaces."
  }
}

variable "api_keys" {
  description = "name=key,name=key for the API; empty: no key is asked for."
  type        = string
  default     = ""
  sensitive   = true
}

variable "signals" {
  description = "The text of signals.yaml; empty: notify sends nothing, and its sources are left out."
  type        = string
  default     = ""
  sensitive   = true
}
