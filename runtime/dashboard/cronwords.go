package dashboard

import (
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
	day := dayWords(f[2], f[3], f[4])
	if day == "" {
		return ""
	}
	if f[1] == "*" {
		if words := stepWords(f[0], 60, "minute"); words != "" {
			return withDay(words, day)
		}
	}
	minute, ok := cronNumber(f[0], 59)
	if !ok {
		return ""
	}
	if words := stepWords(f[1], 24, "hour"); words != "" {
		return withDay(words+" at minute "+strconv.Itoa(minute), day)
	}
	var times []string
	for hour := range strings.SplitSeq(f[1], ",") {
		h, ok := cronNumber(hour, 23)
		if !ok {
			return ""
		}
		times = append(times, twoDigits(h)+":"+twoDigits(minute))
	}
	return "at " + sentence(times) + ", " + day
}

var cronNames = map[string]string{
	"@yearly": "at 00:00, on January 1", "@annually": "at 00:00, on January 1",
	"@monthly": "at 00:00, on day 1 of each month", "@weekly": "at 00:00, on Sunday", "@daily": "at 00:00, every day",
	"@midnight": "at 00:00, every day", "@hourly": "every hour at minute 0",
}

const everyDay = "every day"

func withDay(words, day string) string {
	if day == everyDay {
		return words
	}
	return words + ", " + day
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
	switch {
	case month != "*" && weekday == "*":
		name := months[month]
		if n, ok := cronNumber(day, 31); ok && name != "" {
			return "on " + name + " " + strconv.Itoa(n)
		}
		return ""
	case month != "*":
		return ""
	case day == "*" && weekday == "*":
		return everyDay
	case weekday == "*":
		if n, ok := cronNumber(day, 31); ok {
			return "on day " + strconv.Itoa(n) + " of each month"
		}
		return ""
	case day != "*":
		return ""
	}
	if from, to, ok := strings.Cut(weekday, "-"); ok {
		if from, to = weekdays[from], weekdays[to]; from == "" || to == "" {
			return ""
		}
		return from + " to " + to
	}
	var names []string
	for d := range strings.SplitSeq(weekday, ",") {
		name := weekdays[d]
		if name == "" {
			return ""
		}
		names = append(names, name)
	}
	return "on " + sentence(names)
}

var weekdays = map[string]string{"0": "Sunday", "1": "Monday", "2": "Tuesday", "3": "Wednesday", "4": "Thursday",
	"5": "Friday", "6": "Saturday", "7": "Sunday", "sun": "Sunday", "mon": "Monday", "tue": "Tuesday",
	"wed": "Wednesday", "thu": "Thursday", "fri": "Friday", "sat": "Saturday"}

var months = map[string]string{"1": "January", "2": "February", "3": "March", "4": "April", "5": "May", "6": "June",
	"7": "July", "8": "August", "9": "September", "10": "October", "11": "November", "12": "December", "jan": "January",
	"feb": "February", "mar": "March", "apr": "April", "may": "May", "jun": "June", "jul": "July", "aug": "August",
	"sep": "September", "oct": "October", "nov": "November", "dec": "December"}

func cronNumber(s string, most int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= most
}

func twoDigits(n int) string {
	if n < 10 {
		return "0" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

// sentence returns a list as a sentence has it: a, b and c.
func sentence(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " and " + list[last]
}
