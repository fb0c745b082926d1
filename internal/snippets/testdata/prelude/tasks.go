package prelude

type Invoice struct{}
