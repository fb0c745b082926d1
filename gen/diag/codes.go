package diag

// The codes, for those who report them; the catalogue explains each.
const (
	Misspelt     Code = "AF0101" // //af:rcp, //AF:rpc, //af: rpc
	NotDirective Code = "AF0102" // // af:rpc, /*af:rpc*/
	Detached     Code = "AF0103" // no declaration right below
	Misplaced    Code = "AF0104" // on a declaration that cannot have it
	UnknownKey   Code = "AF0105"
	BadValue     Code = "AF0106"
	RepeatedKey  Code = "AF0107"
	BadSyntax    Code = "AF0108" // quoting, a missing value, a stray one
	Conflict     Code = "AF0109" // directives that exclude each other
	UnknownRule  Code = "AF0111" // of //af:allow
	MissingKey   Code = "AF0115" // one that a directive needs
	BadCron      Code = "AF0116"
	BadZone      Code = "AF0117"
	BadAddress   Code = "AF0118"

	NotExported   Code = "AF0201" // the annotated type
	Generic       Code = "AF0202" // the annotated type
	NotStruct     Code = "AF0203" // the annotated type
	DuplicateName Code = "AF0204" // of two services or two workers
	NameTaken     Code = "AF0205" // a name to be generated
	NoMethods     Code = "AF0206" // a service without any
	ReservedName  Code = "AF0207" // begins with _af
	DuplicateJob  Code = "AF0208" // one id
	ClientPackage Code = "AF0211" // client= names a package that can't be written
	ClientType    Code = "AF0212" // a type that a client package can't or mustn't mention
	ClientCycle   Code = "AF0213" // a client package that would import itself

	NoContext       Code = "AF0301"
	NoError         Code = "AF0302"
	CannotTravel    Code = "AF0303" // a type of a parameter or result
	DuplicateMethod Code = "AF0304" // one wire name
	DuplicateMember Code = "AF0305" // one wire name, of parameters or results
	TypeError       Code = "AF0306" // in an annotated signature or a payload
	FieldLost       Code = "AF0307" // encoding/json doesn't send it, or under another name

	LosesTypes       Code = "AF0308" // a warning: any
	UnnamedParameter Code = "AF0309" // a warning

	NoRun           Code = "AF0401"
	BadRun          Code = "AF0402"
	BadSubtasksDone Code = "AF0403"

	FileInTheWay  Code = "AF0501"
	SyntaxError   Code = "AF0502"
	NotLoaded     Code = "AF0503"
	MixedPackages Code = "AF0504"
	NotEverywhere Code = "AF0505" // a method that is not on all systems of its type
	OutsideModule Code = "AF0506" // through a symbolic link
	Differs       Code = "AF0507" // a declaration that is not the same on another system
	NotHere       Code = "AF0508" // what has to change depends on a file that can't be analysed here

	Internal Code = "AF0901" // a bug of afgen
)
