brokers = { count = 3, disk = 20, memory = "1Gi", cpu = "200m" }
