variable "name" {
  description = "What everything is called; one installation has one name."
  type        = string
  default     = "m7pulse"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name: 3 to 20 lower-case letters, digits and dashes, a letter first, no dash last."
  }
}

variable "region" {
  description = "The region, with three zones or more."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region)) && !startswith(var.region, "cn-")
    error_message = "region: as AWS writes it, for instance eu-central-1; not one of China or of a government, whose names and addresses differ."
  }
}

variable "cidr" {
  description = "The network's addresses. Private ones: the functions that read GitHub may reach port 443 of all others."
  type        = string
  default     = "10.70.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(cidrhost(var.cidr, 0) == split("/", var.cidr)[0], false)
    error_message = "cidr: an IPv4 network, for instance 10.70.0.0/16."
  }
  validation {
    condition     = can(regex("^(10|172\\.(1[6-9]|2[0-9]|3[01])|192\\.168)\\.", var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "cidr: in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, from /16 to /20."
  }
}

variable "admin_cidrs" {
  description = "From where the cluster's API may be reached. Empty: from inside the network alone, and `infra/terraform/platform` is applied there."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for c in var.admin_cidrs : try(tonumber(split("/", c)[1]) >= 8, false) && can(cidrnetmask(c))])
    error_message = "admin_cidrs: IPv4 networks of /8 or smaller; never the whole world."
  }
}

variable "nat_gateways" {
  description = "1, or 3: one for each zone. With one, a fault of its zone stops reading GitHub until the zone is back."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 3], var.nat_gateways)
    error_message = "nat_gateways: 1 or 3."
  }
}

variable "kubernetes_version" {
  description = "Of EKS: the one that infra/kind runs."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 34, false)
    error_message = "kubernetes_version: 1.34 or newer; Knative 1.23 asks for it."
  }
}

variable "nodes" {
  description = "The nodes: an x86 type, how many at least and at most. Three: a broker of Kafka, or a zone, for each."
  type = object({
    type = string
    min  = number
    max  = number
    disk = optional(number, 50)
  })

  validation {
    condition     = var.nodes.min >= 3 && var.nodes.max >= var.nodes.min && var.nodes.max <= 100
    error_message = "nodes: min from 3, max from min to 100."
  }
  validation {
    condition     = !can(regex("^[a-z]+[0-9]+g[a-z]*\\.", var.nodes.type)) && can(regex("^[a-z0-9-]+\\.[a-z0-9]+$", var.nodes.type))
    error_message = "nodes: a type like m7i.large; not one of Graviton (m7g.large): `make image` builds for x86."
  }
  validation {
    condition     = var.nodes.disk >= 20 && var.nodes.disk <= 1000
    error_message = "nodes: disk from 20 to 1000 GiB."
  }
}

variable "redis" {
  description = "Redis: a node's type, and how many: one, or a primary with replicas in other zones."
  type = object({
    type  = string
    nodes = number
  })

  validation {
    condition     = var.redis.nodes >= 1 && var.redis.nodes <= 6 && startswith(var.redis.type, "cache.")
    error_message = "redis: a type like cache.t4g.small, 1 to 6 nodes."
  }
}

variable "bucket" {
  description = "The warehouse's name; of all buckets in the world, no other may have it."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket: 3 to 63 lower-case letters, digits and dashes. No dots: TLS would fail."
  }
}

variable "keep_deleted_days" {
  description = "For how long a deleted file of the warehouse can be brought back. Iceberg needs none of it: files are only added, and maintenance deletes those that no snapshot uses."
  type        = number
  default     = 7

  validation {
    condition     = var.keep_deleted_days >= 1 && var.keep_deleted_days <= 365
    error_message = "keep_deleted_days: 1 to 365."
  }
}

variable "warehouse_accounts" {
  description = "The service accounts of the namespace m7pulse that may use the warehouse: sink-iceberg, and the REST catalog, which writes the tables' metadata."
  type        = set(string)
  default     = ["sink-iceberg", "nessie"]

  validation {
    condition     = contains(var.warehouse_accounts, "sink-iceberg") && !contains(var.warehouse_accounts, "default")
    error_message = "warehouse_accounts: sink-iceberg among them, and not default, which every pod without an account has."
  }
}

variable "kafka" {
  description = "strimzi: brokers on the cluster's nodes, by infra/terraform/platform. msk: Amazon's."
  type        = string
  default     = "strimzi"

  validation {
    condition     = contains(["strimzi", "msk"], var.kafka)
    error_message = "kafka: strimzi or msk."
  }
}

variable "msk" {
  description = "Of kafka = \"msk\" alone: a broker's type, how many (a multiple of three) and the GiB of each."
  type = object({
    type    = optional(string, "kafka.m7g.large")
    brokers = optional(number, 3)
    disk    = optional(number, 100)
  })
  default = {}

  validation {
    condition     = contains([3, 6, 9, 12, 15], var.msk.brokers) && startswith(var.msk.type, "kafka.") && var.msk.disk >= 10 && var.msk.disk <= 16384
    error_message = "msk: a type like kafka.m7g.large, 3, 6, 9, 12 or 15 brokers, 10 to 16384 GiB."
  }
}
