"""Words of C and C++ that a model can't be called, so that no file, target or library of its name collides."""

from __future__ import annotations

from edge_lstm.errors import EdgeLstmError

KEYWORDS = frozenset(
    (
        # C99, and what C11 and C23 add
        *("auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern"),
        *("float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed"),
        *("sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while"),
        *("alignas", "alignof", "bool", "complex", "imaginary", "noreturn", "static_assert", "thread_local"),
        *("constexpr", "false", "nullptr", "true", "typeof", "typeof_unqual", "asm", "fortran"),
        # C++20
        *("and", "and_eq", "bitand", "bitor", "catch", "char8_t", "char16_t", "char32_t", "class", "compl", "concept"),
        *("consteval", "constinit", "const_cast", "co_await", "co_return", "co_yield", "decltype", "delete"),
        *("dynamic_cast", "explicit", "export", "final", "friend", "import", "module", "mutable", "namespace", "new"),
        *("noexcept", "not", "not_eq", "operator", "or", "or_eq", "override", "private", "protected", "public"),
        *("reinterpret_cast", "requires", "static_cast", "std", "template", "this", "throw", "try", "typeid"),
        *("typename", "using", "virtual", "wchar_t", "xor", "xor_eq"),
    )
)
_MATHEMATICS = (
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "erf"),
    *("erfc", "exp", "exp2", "expm1", "fabs", "fdim", "floor", "fma", "fmax", "fmin", "fmod", "frexp", "hypot"),
    *("ilogb", "ldexp", "lgamma", "llrint", "llround", "log", "log10", "log1p", "log2", "logb", "lrint", "lround"),
    *("modf", "nan", "nearbyint", "nextafter", "nexttoward", "pow", "remainder", "remquo", "rint", "round"),
    *("scalbln", "scalbn", "sin", "sinh", "sqrt", "tan", "tanh", "tgamma", "trunc"),
)
LIBRARY = frozenset(
    (
        *("main", "setup", "loop"),  # where programs, and sketches, begin
        *(name + suffix for name in _MATHEMATICS for suffix in ("", "f", "l")),
        # assert, ctype, errno, setjmp, signal, stdarg, stddef
        *("assert", "isalnum", "isalpha", "isblank", "iscntrl", "isdigit", "isgraph", "islower", "isprint", "ispunct"),
        *("isspace", "isupper", "isxdigit", "tolower", "toupper", "errno", "longjmp", "setjmp", "jmp_buf", "raise"),
        *("signal", "va_arg", "va_copy", "va_end", "va_list", "va_start", "offsetof", "ptrdiff_t", "size_t"),
        # stdio
        *("clearerr", "fclose", "feof", "ferror", "fflush", "fgetc", "fgetpos", "fgets", "fopen", "fprintf", "fputc"),
        *("fputs", "fread", "freopen", "fscanf", "fseek", "fsetpos", "ftell", "fwrite", "getc", "getchar", "gets"),
        *("perror", "printf", "putc", "putchar", "puts", "remove", "rename", "rewind", "scanf", "setbuf", "setvbuf"),
        *("snprintf", "sprintf", "sscanf", "stderr", "stdin", "stdout", "tmpfile", "tmpnam", "ungetc", "vfprintf"),
        *("vfscanf", "vprintf", "vscanf", "vsnprintf", "vsprintf", "vsscanf"),
        # stdlib
        *("abort", "abs", "atexit", "atof", "atoi", "atol", "atoll", "bsearch", "calloc", "div", "exit", "free"),
        *("getenv", "labs", "ldiv", "llabs", "lldiv", "malloc", "mblen", "mbstowcs", "mbtowc", "qsort", "rand"),
        *("realloc", "srand", "strtod", "strtof", "strtol", "strtold", "strtoll", "strtoul", "strtoull", "system"),
        *("wcstombs", "wctomb"),
        # string
        *("memchr", "memcmp", "memcpy", "memmove", "memset", "strcat", "strchr", "strcmp", "strcoll", "strcpy"),
        *("strcspn", "strerror", "strlen", "strncat", "strncmp", "strncpy", "strpbrk", "strrchr", "strspn", "strstr"),
        *("strtok", "strxfrm"),
        # time
        *("asctime", "clock", "clock_t", "ctime", "difftime", "gmtime", "localtime", "mktime", "strftime", "time_t"),
        *("int8_t", "int16_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t"),
    )
)


def check_name(name: str) -> None:
    """Raise where an export to C can't have this name; which characters it has, the signature has checked.

    Raises:
        EdgeLstmError: Naming the word.
    """
    kind = "a keyword" if name in KEYWORDS else "a name of the standard library" if name in LIBRARY else None
    if kind is not None:
        raise EdgeLstmError(
            f"a model can't be called {name!r} in C: that is {kind} of C or C++; another name is accepted (--name)"
        )
