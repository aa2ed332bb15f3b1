module github.com/framedb/framedb

go 1.26.0
