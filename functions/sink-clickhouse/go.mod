module github.com/m7pulse/m7pulse/functions/sink-clickhouse

go 1.26

require github.com/m7pulse/m7pulse/shared v0.0.0

replace github.com/m7pulse/m7pulse/shared => ../../shared
