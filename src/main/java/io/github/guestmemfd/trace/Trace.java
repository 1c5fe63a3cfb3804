package io.github.guestmemfd.trace;

import io.github.guestmemfd.abi.FallocMode;
import io.github.guestmemfd.kvm.KernelProfile;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Set;

/**
 * A recorded run: calls in order, each with its result.
 *
 * <p>Parsing checks everything that can be checked without running: the calls, their arguments, and
 * that every name has been defined by an earlier call that succeeded. Immutable.
 */
public final class Trace {
  /** The first line of every trace. */
  public static final String HEADER = "# guest_memfd trace 1";

  /** The name of the virtual machine that every trace has: it is of type 0. */
  public static final String MACHINE = "v0";

  /** What the line begins with that names the kernel. */
  private static final String PROFILE = "# profile:";

  /**
   * A call.
   *
   * @param line its line in the trace, 0 if it has none
   * @param text the call and its arguments, without the result
   * @param verb the call
   * @param arguments the arguments, with their keys
   * @param expected the result; empty if there is none yet
   */
  public record Call(int line, String text, Verb verb, List<String> arguments, String expected) {

    /**
     * Creates a call, with a copy of the arguments.
     *
     * @param line as above
     * @param text as above
     * @param verb as above
     * @param arguments as above
     * @param expected as above
     */
    public Call {
      Objects.requireNonNull(text, "text");
      Objects.requireNonNull(verb, "verb");
      Objects.requireNonNull(expected, "expected");
      Objects.requireNonNull(arguments, "arguments");
      arguments.forEach(a -> Objects.requireNonNull(a, "arguments"));
      arguments = List.copyOf(arguments);
    }

    /**
     * Creates a call without a result; its arguments are checked when they are used.
     *
     * @param verb the call
     * @param arguments the arguments, with their keys
     * @return the call
     */
    public static Call of(Verb verb, String... arguments) {
      Objects.requireNonNull(arguments, "arguments");
      for (String argument : arguments) {
        Objects.requireNonNull(argument, "arguments");
      }
      String text = verb.word() + " " + String.join(" ", arguments);
      return new Call(0, text, verb, List.of(arguments), "");
    }

    /**
     * Returns an argument.
     *
     * @param i its index, from 0
     * @return the argument, without its key
     * @throws IndexOutOfBoundsException if there is no such argument
     */
    public String word(int i) {
      String argument = arguments.get(Objects.checkIndex(i, arguments.size()));
      return argument.substring(argument.indexOf('=') + 1);
    }

    /**
     * Returns an argument that is a number.
     *
     * @param i its index, from 0
     * @return the number
     * @throws IndexOutOfBoundsException if there is no such argument
     * @throws IllegalArgumentException if it is no number
     */
    public long number(int i) {
      String word = word(i);
      try {
        return parseNumber(word);
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException("expected a number, actual '" + word + "'", e);
      }
    }

    /**
     * Returns an argument that is a mode of fallocate.
     *
     * @param i its index, from 0
     * @return the mode's bits
     * @throws IndexOutOfBoundsException if there is no such argument
     * @throws IllegalArgumentException if it is no mode
     */
    public int mode(int i) {
      String word = word(i);
      try {
        return parseMode(word);
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException("expected a mode, actual '" + word + "'", e);
      }
    }

    /**
     * Returns this call as a line of a trace, with a result.
     *
     * @param result the result
     * @return the line
     */
    public String line(String result) {
      Objects.requireNonNull(result, "result");
      return text + " = " + result;
    }
  }

  private final String file;
  private final KernelProfile profile;
  private final List<Call> calls;

  private Trace(String file, KernelProfile profile, List<Call> calls) {
    this.file = file;
    this.profile = profile;
    this.calls = List.copyOf(calls);
  }

  /**
   * Parses a trace.
   *
   * @param file its name, for messages
   * @param lines its lines
   * @return the trace
   * @throws TraceFormatException if it is not one
   */
  public static Trace parse(String file, List<String> lines) {
    Objects.requireNonNull(file, "file");
    for (String line : lines) {
      Objects.requireNonNull(line, "lines");
    }
    if (lines.isEmpty() || !lines.get(0).strip().equals(HEADER)) {
      throw new TraceFormatException(
          file,
          1,
          "expected '" + HEADER + "'" + (lines.isEmpty() ? "" : ", actual '" + lines.get(0) + "'"));
    }
    List<Call> calls = new ArrayList<>();
    Set<String> names = new HashSet<>(Set.of("p0", MACHINE));
    KernelProfile profile = null;
    for (int i = 1; i < lines.size(); i++) {
      String text = lines.get(i).strip();
      if (text.startsWith(PROFILE)) {
        if (profile != null || !calls.isEmpty()) {
          throw new TraceFormatException(
              file,
              i + 1,
              "expected one '" + PROFILE + "' before the first call, actual '" + text + "'");
        }
        profile = parseProfile(file, i + 1, text);
      } else if (!text.isEmpty() && !text.startsWith("#")) {
        calls.add(parseCall(file, i + 1, text, names));
      }
    }
    return new Trace(file, profile == null ? KernelProfile.LINUX_6_18 : profile, calls);
  }

  private static KernelProfile parseProfile(String file, int line, String text) {
    String release = text.substring(PROFILE.length()).strip();
    return KernelProfile.of(release)
        .orElseThrow(
            () ->
                new TraceFormatException(
                    file,
                    line,
                    "expected '"
                        + PROFILE
                        + " RELEASE' with a release not before "
                        + KernelProfile.LINUX_6_18.release()
                        + ", actual '"
                        + text
                        + "'"));
  }

  /**
   * The line that names the kernel which gave the answers, or whose answers the model gave.
   *
   * @param release its release, as {@link KernelProfile#of} takes it
   * @return the line, for any place before the first call
   * @throws IllegalArgumentException if there is no profile of such a kernel
   */
  public static String profileLine(String release) {
    if (KernelProfile.of(release).isEmpty()) {
      throw new IllegalArgumentException("expected a release with a profile, actual " + release);
    }
    return PROFILE + " " + release;
  }

  private static Call parseCall(String file, int line, String text, Set<String> names) {
    int equals = text.indexOf(" = ");
    if (equals < 0) {
      throw new TraceFormatException(
          file, line, "expected 'CALL ARGUMENTS = RESULT', actual '" + text + "'");
    }
    String expected = text.substring(equals + 3).strip();
    String call = text.substring(0, equals).strip();
    List<String> words = Arrays.asList(call.split("\\s+"));
    Verb verb = null;
    for (Verb v : Verb.values()) {
      if (v.word().equals(words.get(0))) {
        verb = v;
      }
    }
    if (verb == null) {
      throw new TraceFormatException(
          file,
          line,
          "expected one of the calls "
              + Arrays.stream(Verb.values()).map(Verb::word).toList()
              + ", actual '"
              + words.get(0)
              + "'");
    }
    List<String> arguments = words.subList(1, words.size());
    if (arguments.size() != verb.arguments().size()) {
      throw new TraceFormatException(
          file,
          line,
          "expected "
              + verb.arguments().size()
              + " arguments after "
              + verb.word()
              + " "
              + verb.arguments()
              + ", actual "
              + arguments.size());
    }
    for (int i = 0; i < arguments.size(); i++) {
      String problem = problem(verb.arguments().get(i), arguments.get(i), names);
      if (problem != null) {
        throw new TraceFormatException(
            file, line, "argument " + (i + 1) + " of " + verb.word() + ": " + problem);
      }
    }
    if (verb.arguments().get(0).startsWith("new ") && expected.equals("ok")) {
      names.add(arguments.get(0));
    }
    return new Call(line, call, verb, arguments, expected);
  }

  /** The reason why an argument is invalid, or null. */
  private static @org.jspecify.annotations.Nullable String problem(
      String kind, String argument, Set<String> names) {
    String value = argument;
    String wanted = kind;
    int key = kind.indexOf('=');
    if (key >= 0) {
      if (!argument.startsWith(kind.substring(0, key + 1))) {
        return "expected " + kind + ", actual '" + argument + "'";
      }
      value = argument.substring(key + 1);
      wanted = kind.substring(key + 1);
    }
    boolean good;
    if (wanted.startsWith("new ")) {
      good = isName(wanted.substring(4), value);
      if (good && names.contains(value)) {
        return "expected a name not yet in use, actual '" + value + "'";
      }
    } else if (wanted.length() == 1) {
      good = isName(wanted, value) || (wanted.equals("a") && isInherited(value));
      if (good && !names.containsAll(parts(value))) {
        return "expected a name that an earlier call defined, actual '" + value + "'";
      }
    } else if (wanted.equals("number")) {
      good = isNumber(value);
    } else if (wanted.equals("mode")) {
      good = isMode(value);
    } else {
      good = false;
      for (String one : wanted.split("\\|", -1)) {
        good |= one.equals("number") ? isNumber(value) : value.equals(one);
        good |= isName(one, value) && names.contains(value);
      }
    }
    return good ? null : "expected " + kind + ", actual '" + argument + "'";
  }

  private static boolean isName(String kind, String word) {
    return word.matches(kind + "[0-9]{1,9}");
  }

  /** Whether it names what a process has inherited: a mapping, and who has forked, in order. */
  private static boolean isInherited(String word) {
    return word.matches("a[0-9]{1,9}(p[0-9]{1,9})+");
  }

  /** The names in a name. */
  private static List<String> parts(String name) {
    return Arrays.asList(name.split("(?<=.)(?=p)"));
  }

  private static boolean isNumber(String word) {
    try {
      parseNumber(word);
      return true;
    } catch (NumberFormatException e) {
      return false;
    }
  }

  private static boolean isMode(String word) {
    try {
      parseMode(word);
      return true;
    } catch (NumberFormatException e) {
      return false;
    }
  }

  /** Decimal or 0x-hexadecimal, signed; without a sign it may use all 64 bits. */
  private static long parseNumber(String word) {
    String digits = word.startsWith("-") ? word.substring(1) : word;
    if (digits.startsWith("+") || digits.startsWith("-")) {
      throw new NumberFormatException(word);
    }
    if (digits.toLowerCase(Locale.ROOT).startsWith("0x")) {
      long value = Long.parseUnsignedLong(digits.substring(2), 16);
      return word.startsWith("-") ? -value : value;
    }
    return word.startsWith("-") ? Long.parseLong(word) : Long.parseUnsignedLong(word);
  }

  private static int parseMode(String word) {
    if (!word.isEmpty() && (Character.isDigit(word.charAt(0)) || word.startsWith("-"))) {
      return (int) parseNumber(word);
    }
    int mode = 0;
    for (String name : word.split("\\|", -1)) {
      mode |= bit(name);
    }
    return mode;
  }

  private static int bit(String name) {
    for (FallocMode mode : FallocMode.values()) {
      if (mode.name().equals(name)) {
        return mode.bit();
      }
    }
    throw new NumberFormatException(name);
  }

  /**
   * Returns the name that the trace was parsed under.
   *
   * @return the name
   */
  public String file() {
    return file;
  }

  /**
   * Returns the kernel that the trace was made by.
   *
   * @return the profile that it names; {@link KernelProfile#LINUX_6_18} if it names none
   */
  public KernelProfile profile() {
    return profile;
  }

  /**
   * Returns the number of calls.
   *
   * @return the number
   */
  public int size() {
    return calls.size();
  }

  /**
   * Returns the calls.
   *
   * @return the calls, in order
   */
  public List<Call> calls() {
    return calls;
  }
}
