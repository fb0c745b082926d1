package filter_test

import (
	"fmt"
	"time"

	"github.com/afgen/afgen/runtime/admin/filter"
)

func ExampleParse() {
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	q, err := filter.Parse(`queue:resize code:unavailable since:1h payload.user.id=7`, now)
	fmt.Println(q.Queue, q.Statuses, q.Code, q.After, q.Filter.Payload, err)

	_, err = filter.Parse("queue:resize status:faild", now)
	fmt.Println(err)
	// Output:
	// resize [failed] unavailable 2026-11-30 02:00:00 +0000 UTC [{user.id 7}] <nil>
	// invalid_argument: filter term "status:faild" (column 14): unknown status "faild"; did you mean status:failed?
}

func ExampleFormat() {
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	q, _ := filter.Parse(`text:"disk full" since:90m queue:resize`, now)
	fmt.Println(filter.Format(q))
	// Output: queue:resize since:2026-11-30T01:30:00Z text:"disk full"
}

func ExampleJoin() {
	// The arguments of: af ls queue:resize text:"disk full"
	fmt.Println(filter.Join([]string{"queue:resize", "text:disk full"}))
	// Output: queue:resize text:"disk full"
}
