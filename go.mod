module github.com/amammay/otorun

go 1.26.0

require github.com/pacedotdev/oto v0.17.0

replace github.com/pacedotdev/oto => ./oto

tool github.com/pacedotdev/oto
