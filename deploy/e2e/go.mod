module github.com/framedb/framedb/deploy/e2e

go 1.26.0
