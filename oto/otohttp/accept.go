package otohttp

import "strings"

// acceptsGzip reports whether a client that sent these Accept-Encoding headers
// wants gzip rather than a body as it is (RFC 9110, section 12.5.3).
//
// Where the header is wrong, or says two things, the answer is no: nobody has to
// accept gzip.
func acceptsGzip(headers []string) bool {
	// Weights are in thousandths; -1 is a coding that isn't named.
	gzip, identity, other := -1, -1, -1
	for _, header := range headers {
		for header != "" {
			var element string
			element, header, _ = strings.Cut(header, ",")
			coding, params, _ := strings.Cut(element, ";")
			coding = trimSpace(coding)
			switch {
			case coding == "":
			case isGzip(coding):
				gzip = lower(gzip, weight(params))
			case coding == "*":
				other = lower(other, weight(params))
			case strings.EqualFold(coding, "identity"):
				identity = lower(identity, weight(params))
			}
		}
	}
	if gzip < 0 {
		gzip = other
	}
	return gzip > 0 && gzip >= identity
}

// isGzip reports whether coding is gzip, or the name it had before HTTP/1.1.
func isGzip(coding string) bool {
	return coding == "gzip" || strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip")
}

// lower is the lower of the weights that a header gives one coding.
func lower(seen, weight int) int {
	if seen < 0 {
		return weight
	}
	return min(seen, weight)
}

// weight returns the q among the parameters of a coding in thousandths: 1000 if
// there is none, 0 if it is none that RFC 9110, section 12.4.2, allows.
func weight(params string) int {
	for params != "" {
		var param string
		param, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(trimSpace(name), "q") {
			return parseWeight(trimSpace(value))
		}
	}
	return 1000
}

// parseWeight parses a qvalue, "0" or "1" and up to three decimals. More of them
// are read past: some clients send all that a float has.
func parseWeight(value string) int {
	whole, decimals, _ := strings.Cut(value, ".")
	if whole != "0" && whole != "1" {
		return 0
	}
	thousandths, above := 0, false
	for i := range len(decimals) {
		digit := decimals[i]
		if digit < '0' || digit > '9' {
			return 0
		}
		above = above || digit != '0'
		if i < 3 {
			thousandths = thousandths*10 + int(digit-'0')
		}
	}
	for i := len(decimals); i < 3; i++ {
		thousandths *= 10
	}
	switch {
	case whole == "1" && above:
		return 0 // more than one
	case whole == "1":
		return 1000
	case above:
		return max(thousandths, 1)
	}
	return 0
}

// trimSpace cuts off the whitespace that HTTP allows around a part of a header.
func trimSpace(s string) string { return strings.Trim(s, " \t") }
