// The command line: what is understood, and what is said about the rest.
#include <gtest/gtest.h>

#include "ctl/command.h"
#include "ctl/nearest.h"
#include "ctl/revision_argument.h"
#include "ctl/sizes.h"

namespace backup {
namespace {

std::string parse(const std::vector<std::string>& words, Invocation& invocation) {
    auto result = parse_command_line(words, invocation);
    return result.ok() ? std::string() : result.error().message();
}
std::string verb_of(const std::vector<std::string>& words) {
    Invocation invocation;
    std::string problem = parse(words, invocation);
    return problem.empty() && invocation.command != nullptr ? invocation.command->verb
                                                            : "error: " + problem;
}
std::string problem_of(const std::vector<std::string>& words) {
    Invocation invocation;
    return parse(words, invocation);
}
bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST(CommandLine, WithoutAVerbIsStatus) {
    EXPECT_EQ(verb_of({}), "status");
    EXPECT_EQ(verb_of({"--json", "--user"}), "status");
}

TEST(CommandLine, AliasesLeadToTheirVerb) {
    EXPECT_EQ(verb_of({"snapshots"}), "revisions");
    EXPECT_EQ(verb_of({"list", "home"}), "revisions");
    EXPECT_EQ(verb_of({"backup"}), "run");
}

TEST(CommandLine, GlobalOptionsMayStandAnywhere) {
    EXPECT_EQ(verb_of({"--color", "never", "repo", "--json", "init", "a", "/b"}), "repo init");
    Invocation invocation;
    EXPECT_EQ(parse({"-q", "run", "home", "--wait"}, invocation), "");
    EXPECT_TRUE(invocation.arguments.flag("--quiet"));
    EXPECT_EQ(invocation.arguments.value("--wait"), "forever");
    EXPECT_EQ(invocation.arguments.positionals(), std::vector<std::string>{"home"});
}

TEST(CommandLine, WaitTakesSecondsOnlyWithAnEqualsSign) {
    Invocation invocation;
    EXPECT_EQ(parse({"run", "--wait=60", "home"}, invocation), "");
    EXPECT_EQ(invocation.arguments.value("--wait"), "60");
    Invocation other;
    EXPECT_EQ(parse({"run", "--wait", "60"}, other), "");
    EXPECT_EQ(other.arguments.positionals(), std::vector<std::string>{"60"});
}

TEST(CommandLine, PatternsArriveAsTyped) {
    Invocation invocation;
    EXPECT_EQ(parse({"set", "create", "x", "/p", "--exclude", "[._]*.s[a-v][a-z]", "--exclude=[ab]",
                     "--exclude", "a,b c"},
                    invocation),
              "");
    EXPECT_EQ(invocation.arguments.values("--exclude"),
              (std::vector<std::string>{"[._]*.s[a-v][a-z]", "[ab]", "a,b c"}));
}

TEST(CommandLine, AfterTwoDashesEverythingIsAName) {
    Invocation invocation;
    EXPECT_EQ(parse({"restore", "-n", "--", "--to", "-x", "--help"}, invocation), "");
    EXPECT_EQ(invocation.arguments.positionals(),
              (std::vector<std::string>{"--to", "-x", "--help"}));
    EXPECT_FALSE(invocation.help);
}

TEST(CommandLine, ShortOptionsMayBeBundled) {
    Invocation invocation;
    EXPECT_EQ(parse({"ls", "-lR0", "/x"}, invocation), "");
    EXPECT_TRUE(invocation.arguments.flag("--long") && invocation.arguments.flag("--recursive") &&
                invocation.arguments.flag("--null"));
}

TEST(CommandLine, UnknownVerbsNameTheNearest) {
    EXPECT_TRUE(contains(problem_of({"stauts"}), "did you mean 'status'"));
    EXPECT_TRUE(contains(problem_of({"reviisons"}), "did you mean 'revisions'"));
    EXPECT_TRUE(contains(problem_of({"repo", "lst"}), "did you mean 'list'"));
    EXPECT_FALSE(contains(problem_of({"xyzzy"}), "did you mean"));
}

TEST(CommandLine, UnknownOptionsNameTheNearest) {
    EXPECT_TRUE(contains(problem_of({"revisions", "--jsn"}), "did you mean '--json'"));
    EXPECT_TRUE(contains(problem_of({"restore", "x", "--on-conflit", "skip"}),
                         "did you mean '--on-conflict'"));
}

TEST(CommandLine, WrongValuesNameTheRightOnes) {
    std::string problem = problem_of({"restore", "x", "--on-conflict", "maybe"});
    EXPECT_TRUE(contains(problem, "keep-both")) << problem;
    EXPECT_TRUE(contains(problem_of({"restore", "x", "--to"}), "--to needs a value"))
        << problem_of({"restore", "x", "--to"});
}

TEST(CommandLine, MissingAndSurplusArgumentsAreNamed) {
    EXPECT_TRUE(contains(problem_of({"cancel"}), "needs ID"));
    EXPECT_TRUE(contains(problem_of({"cancel", "1", "2"}), "'2' is one argument too many"));
    EXPECT_TRUE(contains(problem_of({"restore", "--at", "yesterday", "--at", "today", "x"}),
                         "more than once"));
    EXPECT_EQ(problem_of({"restore", "--files-from", "-"}), "");
}

TEST(CommandLine, VerbsThatDoNotExistYetAreUnknown) {
    for (const char* verb : {"mount", "umount"})
        EXPECT_TRUE(contains(problem_of({verb}), "unknown verb")) << verb;
    EXPECT_FALSE(contains(overview_text(), "mount"));
}

TEST(CommandLine, HelpIsThereForEveryVerbAndFitsTheTerminal) {
    for (const auto& command : commands()) {
        std::vector<std::string> words = {"--help"};
        std::size_t space = command.verb.find(' ');
        words.insert(words.begin(), command.verb.substr(0, space));
        if (space != std::string::npos)
            words.insert(words.begin() + 1, command.verb.substr(space + 1));
        Invocation invocation;
        EXPECT_EQ(parse(words, invocation), "");
        EXPECT_TRUE(invocation.help && invocation.command == &command) << command.verb;
        std::string text = help_text(command, 80);
        EXPECT_TRUE(contains(text, "usage: backupctl " + command.verb)) << command.verb;
        EXPECT_NE(command.run, nullptr) << command.verb;
    }
}

TEST(Completions, KnowEveryVerbAndOption) {
    for (const char* shell : {"bash", "zsh", "fish"}) {
        std::string script = completion_script(shell);
        for (const auto& command : commands()) {
            EXPECT_TRUE(contains(script, command.verb.substr(command.verb.rfind(' ') + 1)))
                << shell << command.verb;
            for (const auto& option : command.options)
                EXPECT_TRUE(contains(script, option.name.substr(2))) << shell << option.name;
        }
    }
    EXPECT_EQ(completion_script("tcsh"), "");
}

TEST(Nearest, FindsSwapsAndBeginnings) {
    std::vector<std::string> words = {"status", "restore", "revisions", "repo"};
    EXPECT_EQ(nearest("sttaus", words), "status");
    EXPECT_EQ(nearest("rev", words), "revisions");
    EXPECT_EQ(nearest("rstore", words), "restore");
    EXPECT_EQ(nearest("q", words), "");
    EXPECT_EQ(nearest("", words), "");
    EXPECT_EQ(nearest(std::string(1000, 'x'), words), "");
}

std::string revision(const char* text) {
    auto argument = parse_revision_argument(text);
    return argument.ok() ? argument->set + "|" + argument->revision : "error";
}

TEST(RevisionArgument, EveryForm) {
    EXPECT_EQ(revision("latest"), "|latest");
    EXPECT_EQ(revision("7"), "|7");
    EXPECT_EQ(revision("home/7"), "home|7");
    EXPECT_EQ(revision("my.set-2/latest"), "my.set-2|latest");
    EXPECT_EQ(revision("abcdef"), "|abcdef");
    EXPECT_EQ(revision("ABCDEF12"), "|abcdef12");
    EXPECT_EQ(revision("home/1a2b3c4d"), "home|1a2b3c4d");
    std::string full(64, 'a');
    EXPECT_EQ(revision(full.c_str()), "|" + full);
    for (const char* bad : {"", "abcde", "newest", "home/", "/7", "a/b/7", "home/xyz", "-1", "7x"})
        EXPECT_EQ(revision(bad), "error") << bad;
    EXPECT_EQ(revision((full + "a").c_str()), "error");
}

std::string path(const char* text) {
    auto argument = parse_path_argument(text);
    return (argument.revision ? argument.revision->text() : std::string("-")) + " " + argument.path;
}

TEST(PathArgument, SplitsARevisionOffOnlyWhereItReadsAsOne) {
    EXPECT_EQ(path("/etc/a:b"), "- /etc/a:b");
    EXPECT_EQ(path("./7:x"), "- ./7:x");
    EXPECT_EQ(path("notes"), "- notes");
    EXPECT_EQ(path("talk: part 2.odt"), "- talk: part 2.odt");
    EXPECT_EQ(path("7:/etc"), "7 /etc");
    EXPECT_EQ(path("home/7:x:y"), "home/7 x:y");
    EXPECT_EQ(path("latest:"), "latest ");
    EXPECT_EQ(path("abcdef:rel/path"), "abcdef rel/path");
}

TEST(AbsolutePath, IsMadeByTextAlone) {
    auto whole = [](const char* text) {
        auto result = absolute_path(text, "/home/ada");
        return result.ok() ? *result : "error";
    };
    EXPECT_EQ(whole("x"), "/home/ada/x");
    EXPECT_EQ(whole("."), "/home/ada");
    EXPECT_EQ(whole("../bob/./y//"), "/home/bob/y");
    EXPECT_EQ(whole("/../.."), "/");
    EXPECT_EQ(whole("/a/\xff"), "/a/\xff");
    EXPECT_EQ(whole(""), "error");
    EXPECT_FALSE(absolute_path("x", "").ok());
    EXPECT_FALSE(absolute_path(std::string_view("a\0b", 3), "/").ok());
}

TEST(SizeArgument, ReadsUnits) {
    EXPECT_EQ(parse_size("4096").value(), 4096u);
    EXPECT_EQ(parse_size("500k").value(), 512000u);
    EXPECT_EQ(parse_size("1.5GiB").value(), 1610612736u);
    EXPECT_EQ(parse_size("2 GB").value(), 2000000000u);
    EXPECT_EQ(parse_size("10b").value(), 10u);
    for (const char* bad :
         {"", "GiB", "1.", ".5", "1.2.3", "-1", "5 elephants", "1kk", "99999999999999999999"})
        EXPECT_FALSE(parse_size(bad).ok()) << bad;
}

}  // namespace
}  // namespace backup
