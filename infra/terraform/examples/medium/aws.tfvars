# 30,000 repositories, read every hour.
region       = "eu-central-1"
bucket       = "m7pulse-warehouse-example-medium"
admin_cidrs  = ["203.0.113.7/32"] # yours
nat_gateways = 1
nodes        = { type = "m7i.xlarge", min = 3, max = 5 }
redis        = { type = "cache.t4g.medium", nodes = 2 }
