// Package lists measures the lists and counts of a system with many stored tasks: how long operators and pages wait.
//
//	go test -run '^$' -bench . -benchtime 200x ./lists -tasks 1000000
//
// Of the stored tasks, 1 in 20 has ended, and 1 in 10 of these has failed; the others are due next year, except for the
// newest 1,000. They belong to three queues. Each benchmark reads pages of 20, or counts, and reports the median and
// the 99th percentile in milliseconds.
//
//	BenchmarkLists/BACKEND/indexed/…   the first page of a list that an index serves, or one after 50,000 tasks
//	BenchmarkLists/BACKEND/counts/…    counts
//	BenchmarkLists/BACKEND/bounded/…   filters that no task matches, so that the page looks as far as it may: looked
//	                                   is at how many tasks it looked
//
// BenchmarkPages measures the first render of each page of the dashboard on such a system. On servers it also reports
// the commands that one render sends to MongoDB, and what these examine.
//
// BenchmarkOpen measures what open pages cost: go test -run '^$' -bench Open -benchtime 1x ./lists -window 30s.
package lists
