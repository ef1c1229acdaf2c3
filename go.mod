module github.com/m7pulse/m7pulse

go 1.26

require (
	github.com/m7pulse/m7pulse/functions/aggregate v0.0.0
	github.com/m7pulse/m7pulse/functions/fetch-org v0.0.0
	github.com/m7pulse/m7pulse/functions/sink-clickhouse v0.0.0
	github.com/m7pulse/m7pulse/functions/sink-iceberg v0.0.0
	github.com/m7pulse/m7pulse/shared v0.0.0
)

replace github.com/m7pulse/m7pulse/shared => ./shared

replace github.com/m7pulse/m7pulse/functions/fetch-org => ./functions/fetch-org

replace github.com/m7pulse/m7pulse/functions/aggregate => ./functions/aggregate

replace github.com/m7pulse/m7pulse/functions/sink-clickhouse => ./functions/sink-clickhouse

replace github.com/m7pulse/m7pulse/functions/sink-iceberg => ./functions/sink-iceberg
