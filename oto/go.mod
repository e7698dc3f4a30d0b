module github.com/pacedotdev/oto

go 1.26.0
