module github.com/amammay/otorun/bench

go 1.26.0
