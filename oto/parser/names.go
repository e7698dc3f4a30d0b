package parser

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Split cuts a camel-case name into its words: at each change between lower
// case, upper case, digits and the rest, where the last upper-case letter of a
// run goes with the lower-case letters after it ("MyHTMLPage" is My, HTML,
// Page). Text that is not UTF-8 is one word.
func Split(src string) []string {
	if !utf8.ValidString(src) {
		return []string{src}
	}
	var runs [][]rune
	last := -1
	for _, r := range src {
		class := runeClass(r)
		if class == last {
			runs[len(runs)-1] = append(runs[len(runs)-1], r)
		} else {
			runs = append(runs, []rune{r})
		}
		last = class
	}
	for i := 0; i < len(runs)-1; i++ {
		if unicode.IsUpper(runs[i][0]) && unicode.IsLower(runs[i+1][0]) {
			n := len(runs[i]) - 1
			runs[i+1] = slices.Insert(runs[i+1], 0, runs[i][n])
			runs[i] = runs[i][:n]
		}
	}
	words := make([]string, 0, len(runs))
	for _, run := range runs {
		if len(run) > 0 {
			words = append(words, string(run))
		}
	}
	return words
}

func runeClass(r rune) int {
	switch {
	case unicode.IsLower(r):
		return 1
	case unicode.IsUpper(r):
		return 2
	case unicode.IsDigit(r):
		return 3
	}
	return 4
}

// CamelizeDown returns s as a camel-case name that starts in lower case, with
// acronyms in capitals but for the first word: "ModelId" is modelID. Fields are
// called by it on the wire, so its results never change.
func CamelizeDown(s string) string {
	if acronyms[strings.ToLower(s)] {
		return strings.ToLower(s)
	}
	return mapFirst(capitalizeAcronyms(s), unicode.ToLower)
}

// CamelizeUp returns s as CamelizeDown does, starting in upper case. A name that
// is one acronym is all lower case.
func CamelizeUp(s string) string {
	if acronyms[strings.ToLower(s)] {
		return strings.ToLower(s)
	}
	return mapFirst(capitalizeAcronyms(s), unicode.ToUpper)
}

// CamelizeUpField returns CamelizeUp of s without the runes that can't stand in
// a name, each gap starting a new word.
func CamelizeUpField(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			gap = true
			continue
		}
		if gap {
			r = unicode.ToUpper(r)
			gap = false
		}
		b.WriteRune(r)
	}
	return CamelizeUp(b.String())
}

// mapFirst applies f to the first rune of s.
func mapFirst(s string, f func(rune) rune) string {
	first, size := utf8.DecodeRuneInString(s)
	if first == utf8.RuneError {
		return s
	}
	return string(f(first)) + s[size:]
}

func capitalizeAcronyms(s string) string {
	words := Split(s)
	for i, word := range words {
		if lower := strings.ToLower(word); acronyms[lower] {
			if i == 0 {
				words[i] = lower
			} else {
				words[i] = strings.ToUpper(word)
			}
		}
	}
	return strings.Join(words, "")
}

// acronyms are the words that names spell in capitals.
var acronyms = func() map[string]bool {
	set := make(map[string]bool)
	for word := range strings.FieldsSeq(`
		ack acl adsl aes ansi api arp atm bgp bss cat ccitt chap cidr cir cli
		cmos cpe cpu crc crt csma dce dec des dhcp dmi dns dram dsl dslam dte
		eha eia eigrp eof ess fcc fcs fddi ftp gbic gbps gepof hdlc html http
		https iana icmp id idf ids ieee ietf imap ip ips isdn isp json jwt kbps
		lacp lan lapb lapf llc mac man mbps mc mdf mib moca mpls mtu nac nat
		nbma nic nrz nrzi nvram osi ospf oui pap pat pc pcm pdu pim pop pop3
		pots ppp pptp ptt pvst radius ram rarp rcp rfc rip rll rom rstp rtp sdlc
		sfd sfp slarp slip smtp sna snap snmp sof sql sram ssh ssid stp syn tdm
		tftp tia tofu udp uri url usb utp uuid vc vlan vlsm vpn w3c wan wep wifi
		wpa www`) {
		set[word] = true
	}
	return set
}()
