package main

import (
	"fmt"
	"html"
	"strings"
)

// chart is the servers' CPU as bars, a panel for each size of request.
type chart struct{ panels []panel }

type panel struct {
	title string
	bars  []bar
}

type bar struct {
	title string
	value float64
}

func (c *chart) add(title, row string, value float64) {
	if n := len(c.panels); n == 0 || c.panels[n-1].title != title {
		c.panels = append(c.panels, panel{title: title})
	}
	p := &c.panels[len(c.panels)-1]
	p.bars = append(p.bars, bar{row, value})
}

const chartStyle = `<style>
.back{fill:#fff} text{font:13px system-ui,sans-serif;fill:#1f2328} .title{font-weight:600;font-size:15px} .peer{fill:#8c959f} .ours{fill:#0969da}
@media (prefers-color-scheme:dark){.back{fill:#0d1117} text{fill:#e6edf3} .peer{fill:#6e7681} .ours{fill:#4493f8}}
</style>`

// svg draws the chart, in light or dark colours as the reader has them.
func (c *chart) svg() string {
	const width, left, right, step = 760, 240, 70, 22
	var body strings.Builder
	y := 34
	text := func(x, y int, attrs, s string) {
		fmt.Fprintf(&body, "<text x=\"%d\" y=\"%d\"%s>%s</text>\n", x, y, attrs, html.EscapeString(s))
	}
	text(16, y, ` class="title"`, "CPU of the server a request, as a multiple of the floor's")
	for _, p := range c.panels {
		y += 34
		text(16, y, ` class="title"`, p.title)
		y += 8
		most := 0.0
		for _, b := range p.bars {
			most = max(most, b.value)
		}
		for _, b := range p.bars {
			class := "peer"
			title := strings.Trim(b.title, "*")
			if title != b.title { // in bold in the tables
				class = "ours"
			}
			length := int(b.value / most * (width - left - right))
			text(left-8, y+16, ` text-anchor="end"`, title)
			fmt.Fprintf(&body, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\" class=\"%s\"/>\n", left, y+3, max(length, 1), step-5, class)
			text(left+max(length, 1)+6, y+16, "", times(b.value))
			y += step
		}
	}
	y += 20
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"CPU of the servers a request\">\n%s\n<rect width=\"100%%\" height=\"100%%\" class=\"back\"/>\n%s</svg>\n",
		width, y, width, y, chartStyle, body.String())
}
