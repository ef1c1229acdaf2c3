# Run with -var-file=../examples/small/aws.tfvars. Providers are mocked: this says
# what is asked of AWS, not what AWS does.
mock_provider "aws" {
  override_data {
    target = data.aws_availability_zones.up
    values = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c", "eu-central-1d"] }
  }
  override_resource {
    target = aws_eks_cluster.this
    values = {
      certificate_authority = [{ data = "Y2VydGlmaWNhdGU=" }]
    }
  }
}

mock_provider "random" {}

run "bucket" {
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.warehouse.block_public_acls, aws_s3_bucket_public_access_block.warehouse.block_public_policy,
      aws_s3_bucket_public_access_block.warehouse.ignore_public_acls, aws_s3_bucket_public_access_block.warehouse.restrict_public_buckets,
    ]) && aws_s3_bucket_public_access_block.warehouse.bucket == aws_s3_bucket.warehouse.id
    error_message = "The bucket may become public."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.warehouse.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "The bucket is not encrypted."
  }
  assert {
    condition     = !aws_s3_bucket.warehouse.force_destroy
    error_message = "A destroy would delete the warehouse."
  }
  assert {
    condition = alltrue([for r in aws_s3_bucket_lifecycle_configuration.warehouse.rule :
      length(r.transition) == 0 && alltrue([for e in r.expiration : coalesce(e.days, 0) == 0 && e.date == null])
    ])
    error_message = "A file that a table may still use expires or is moved."
  }
  assert {
    condition     = contains(flatten([for r in aws_s3_bucket_lifecycle_configuration.warehouse.rule : [for a in r.abort_incomplete_multipart_upload : a.days_after_initiation]]), 2)
    error_message = "Uploads that were not finished stay for ever."
  }
  assert {
    condition     = contains(flatten([for r in aws_s3_bucket_lifecycle_configuration.warehouse.rule : [for e in r.noncurrent_version_expiration : e.noncurrent_days]]), 7)
    error_message = "Deleted files stay for ever."
  }
  assert {
    condition = anytrue([for s in jsondecode(aws_s3_bucket_policy.warehouse.policy).Statement :
      s.Effect == "Deny" && s.Principal == "*" && s.Condition.Bool["aws:SecureTransport"] == "false"
    ]) && alltrue([for s in jsondecode(aws_s3_bucket_policy.warehouse.policy).Statement : s.Effect == "Deny"])
    error_message = "The bucket answers without TLS, or its policy lets somebody in."
  }
}

run "least_right" {
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role_policy.warehouse.policy).Statement : alltrue([
      for r in s.Resource : contains([aws_s3_bucket.warehouse.arn, "${aws_s3_bucket.warehouse.arn}/*"], r)
    ])])
    error_message = "The sinks' role reaches something else than the warehouse."
  }
  assert {
    condition = toset(flatten([for s in jsondecode(aws_iam_role_policy.warehouse.policy).Statement : s.Action])) == toset([
      "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
      "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetBucketLocation",
    ])
    error_message = "The sinks' role may do something else than read, write and list files."
  }
  assert {
    condition = alltrue([for s in jsondecode(aws_iam_role.warehouse.assume_role_policy).Statement :
      s.Principal == { Service = "pods.eks.amazonaws.com" } &&
      s.Condition.StringEquals["aws:RequestTag/kubernetes-namespace"] == "m7pulse" &&
      s.Condition.StringEquals["aws:RequestTag/eks-cluster-name"] == aws_eks_cluster.this.name &&
      toset(s.Condition.StringEquals["aws:RequestTag/kubernetes-service-account"]) == toset(["nessie", "sink-iceberg"])
    ])
    error_message = "Somebody else than the pods of the warehouse may take its role."
  }
  assert {
    condition     = toset([for a in aws_eks_pod_identity_association.warehouse : "${a.namespace}/${a.service_account}"]) == toset(["m7pulse/nessie", "m7pulse/sink-iceberg"])
    error_message = "Other accounts have the role."
  }
  assert {
    condition     = toset([for a in aws_iam_role_policy_attachment.node : a.policy_arn]) == toset([for p in ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"] : "arn:aws:iam::aws:policy/${p}"])
    error_message = "A node may do more than be a node."
  }
  assert {
    condition     = one(aws_launch_template.node.metadata_options).http_tokens == "required" && one(aws_launch_template.node.metadata_options).http_put_response_hop_limit == 1
    error_message = "A pod reaches the role of its node."
  }
}

run "redis" {
  assert {
    condition     = [for p in aws_elasticache_parameter_group.redis.parameter : p.value if p.name == "maxmemory-policy"] == ["noeviction"]
    error_message = "Redis evicts keys: aggregate would not start."
  }
  assert {
    condition     = aws_elasticache_replication_group.redis.parameter_group_name == aws_elasticache_parameter_group.redis.name
    error_message = "Redis does not have our parameters."
  }
  assert {
    condition     = aws_elasticache_replication_group.redis.transit_encryption_enabled && aws_elasticache_replication_group.redis.transit_encryption_mode == "required" && aws_elasticache_replication_group.redis.at_rest_encryption_enabled == "true"
    error_message = "Redis speaks without TLS, or its disk is in clear."
  }
  assert {
    condition     = aws_elasticache_replication_group.redis.auth_token == random_password.redis.result && random_password.redis.length >= 32 && !random_password.redis.special
    error_message = "Redis has no password, a short one, or one that breaks an address."
  }
  assert {
    condition     = output.platform.redis_url == "rediss://:${random_password.redis.result}@${aws_elasticache_replication_group.redis.primary_endpoint_address}:6379/0"
    error_message = "The address is not that of the primary, with TLS and the password."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.redis.referenced_security_group_id == aws_eks_cluster.this.vpc_config[0].cluster_security_group_id && aws_vpc_security_group_ingress_rule.redis.cidr_ipv4 == null
    error_message = "Others than the cluster reach Redis."
  }
}

run "cluster" {
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && toset(aws_eks_cluster.this.vpc_config[0].public_access_cidrs) == toset(["203.0.113.7/32"])
    error_message = "The cluster's API is open to others."
  }
  assert {
    condition     = jsondecode(aws_eks_addon.network.configuration_values).enableNetworkPolicy == "true"
    error_message = "NetworkPolicies would do nothing."
  }
  assert {
    condition     = length(aws_msk_cluster.this) == 0 && length(aws_secretsmanager_secret.kafka) == 0 && output.platform.kafka == "strimzi"
    error_message = "With Strimzi there is an MSK to be paid."
  }
  assert {
    condition     = length(toset(aws_subnet.private[*].availability_zone)) == 3 && length(toset(concat(aws_subnet.private[*].cidr_block, aws_subnet.public[*].cidr_block))) == 6 && length(aws_nat_gateway.this) == 1
    error_message = "Not three zones with networks of their own, and one NAT gateway."
  }
  assert {
    condition     = toset(aws_vpc_endpoint.s3.route_table_ids) == toset(aws_route_table.private[*].id)
    error_message = "The warehouse's bytes go through the NAT gateway."
  }
}

run "the_smallest_network_has_room" {
  command = plan
  variables {
    cidr = "10.9.16.0/20"
  }
  assert {
    condition     = aws_subnet.private[*].cidr_block == ["10.9.16.0/24", "10.9.17.0/24", "10.9.18.0/24"] && aws_subnet.public[*].cidr_block == ["10.9.31.0/28", "10.9.31.16/28", "10.9.31.32/28"]
    error_message = "The networks are not those that were meant."
  }
}
