# 1,000 repositories, read every hour (docs/capacity.md).
region       = "eu-central-1"
bucket       = "m7pulse-warehouse-example-small"
admin_cidrs  = ["203.0.113.7/32"] # yours
nat_gateways = 1
nodes        = { type = "m7i.large", min = 3, max = 3 }
redis        = { type = "cache.t4g.small", nodes = 1 }
