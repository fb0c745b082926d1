package dashboard

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// cronWords returns what a cron expression means, for the common ones: "at 09:30, Monday to Friday". For others it
// returns "". The expression is valid.
func cronWords(expr string) string {
	expr = strings.TrimSpace(expr)
	if every, ok := strings.CutPrefix(expr, "@every "); ok {
		return "every " + strings.TrimSpace(every)
	}
	if words, ok := cronNames[expr]; ok {
		return words
	}
	f := strings.Fields(strings.ReplaceAll(strings.ToLower(expr), "?", "*"))
	if len(f) == 6 && f[0] == "0" {
		f = f[1:]
	}
	switch {
	case len(f) == 6 && strings.Join(f[1:], "") == "*****":
		return stepWords(f[0], 60, "second")
	case len(f) != 5:
		return ""
	}
	times, days := timeWords(f[0], f[1]), dayWords(f[2], f[3], f[4])
	switch {
	case times == "" || days == "":
		return ""
	case days == everyDay && !strings.HasPrefix(times, "at "):
		return times
	}
	return times + ", " + days
}

var cronNames = map[string]string{
	"@yearly": "at 00:00, on January 1", "@annually": "at 00:00, on January 1",
	"@monthly": "at 00:00, on day 1 of each month", "@weekly": "at 00:00, on Sunday", "@daily": "at 00:00, every day",
	"@midnight": "at 00:00, every day", "@hourly": "every hour at minute 0",
}

const everyDay = "every day"

// timeWords returns the words of the minutes and hours of an expression, or "".
func timeWords(minute, hour string) string {
	minutes, hours := cronParts(minute, 59, nil), cronParts(hour, 23, nil)
	if step := stepWords(minute, 60, "minute"); step != "" {
		switch {
		case hour == "*":
			return step
		case len(hours) == 1:
			return step + " from " + clock(hours[0].from, 0) + " to " + clock(hours[0].to, 59)
		}
		return ""
	}
	if len(minutes) == 0 || slices.ContainsFunc(minutes, cronPart.isRange) {
		return ""
	}
	if step := stepWords(hour, 24, "hour"); step != "" {
		return step + " at " + several("minute", minutes)
	}
	first := minutes[0].from
	if span, step, ok := strings.Cut(hour, "/"); ok || len(hours) == 1 && hours[0].isRange() {
		n, every := 1, "every hour"
		if ok {
			n, _ = strconv.Atoi(step)
			every = "every " + step + " hours"
			hours = cronParts(span, 23, nil)
		}
		if len(minutes) > 1 || len(hours) != 1 || !hours[0].isRange() || n < 1 || ok && n == 1 {
			return ""
		}
		last := hours[0].to - (hours[0].to-hours[0].from)%n
		return every + " from " + clock(hours[0].from, first) + " to " + clock(last, first)
	}
	if len(hours) == 0 || len(hours)*len(minutes) > 6 || slices.ContainsFunc(hours, cronPart.isRange) {
		return ""
	}
	var times []string
	for _, h := range hours {
		for _, m := range minutes {
			times = append(times, clock(h.from, m.from))
		}
	}
	return "at " + sentence(times)
}

// stepWords returns the words of * and of steps that divide a whole, such as */15 minutes.
func stepWords(field string, whole int, unit string) string {
	step, ok := strings.CutPrefix(field, "*/")
	n, err := strconv.Atoi(step)
	switch {
	case field == "*", ok && n == 1:
		return "every " + unit
	case !ok, err != nil, n < 1, whole%n != 0:
		return ""
	}
	return "every " + strconv.Itoa(n) + " " + unit + "s"
}

// dayWords returns the words of the days of an expression, or "".
func dayWords(day, month, weekday string) string {
	days, months := cronParts(day, 31, nil), cronParts(month, 12, monthNames)
	weekdays := cronParts(weekday, 7, weekdayNames)
	if day != "*" && days == nil || month != "*" && months == nil || weekday != "*" && weekdays == nil {
		return ""
	}
	of := " of each month"
	if months != nil {
		of = " of " + partWords(months, monthNames)
	}
	onDays, onWeekdays := "on "+several("day", days)+of, partWords(weekdays, weekdayNames)
	if weekdays != nil && !weekdays[0].isRange() {
		onWeekdays = "on " + onWeekdays
	}
	switch {
	case days != nil && weekdays != nil: // days on which either holds
		if months != nil {
			return ""
		}
		return onDays + " and " + onWeekdays
	case len(days) == 1 && !days[0].isRange() && len(months) == 1 && !months[0].isRange():
		return "on " + monthNames[months[0].from] + " " + strconv.Itoa(days[0].from)
	case days != nil:
		return onDays
	case weekdays == nil:
		onWeekdays = everyDay
	}
	if months != nil {
		onWeekdays += " in " + partWords(months, monthNames)
	}
	return onWeekdays
}

var weekdayNames = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

var monthNames = []string{"", "January", "February", "March", "April", "May", "June", "July", "August", "September",
	"October", "November", "December"}

// A cronPart is a part of a field: a value, or a range of values.
type cronPart struct{ from, to int }

func (p cronPart) isRange() bool { return p.from != p.to }

// cronParts returns the parts of a field. It returns nil if the field is *, has steps or has too many parts to read.
func cronParts(field string, most int, names []string) (parts []cronPart) {
	for text := range strings.SplitSeq(field, ",") {
		from, to, ok := strings.Cut(text, "-")
		if !ok {
			to = from
		}
		p := cronPart{cronNumber(from, most, names), cronNumber(to, most, names)}
		if p.from < 0 || p.to < p.from || len(parts) == 8 {
			return nil
		}
		parts = append(parts, p)
	}
	return parts
}

// cronNumber returns the value of a number or of the first three letters of a name, or -1.
func cronNumber(s string, most int, names []string) int {
	for i, name := range names {
		if name != "" && strings.EqualFold(name[:3], s) {
			return i
		}
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= most {
		return n
	}
	return -1
}

// partWords returns parts in words, with the names of values if they have some.
func partWords(parts []cronPart, names []string) string {
	word := strconv.Itoa
	if names != nil {
		word = func(n int) string { return names[n] }
	}
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = word(p.from)
		if p.isRange() {
			words[i] += " to " + word(p.to)
		}
	}
	return sentence(words)
}

// several returns a noun with parts: minute 5, minutes 5 and 35.
func several(noun string, parts []cronPart) string {
	if len(parts) != 1 || parts[0].isRange() {
		noun += "s"
	}
	return noun + " " + partWords(parts, nil)
}

// clock returns a time of day.
func clock(hour, minute int) string { return fmt.Sprintf("%02d:%02d", hour, minute) }

// sentence returns a list as a sentence has it: a, b and c.
func sentence(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " and " + list[last]
}
