package mongoproxy

var Parse = parse
