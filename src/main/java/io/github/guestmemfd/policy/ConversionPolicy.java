package io.github.guestmemfd.policy;

import io.github.guestmemfd.kvm.MemoryAttribute;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.ServiceLoader;
import java.util.stream.Stream;

/**
 * Decides when the pages of a guest are converted, and how many at a time; {@link
 * ConversionHandler} does the conversions.
 *
 * <p>A policy may keep state, and is then for one virtual machine. The threads of all vCPUs call
 * its methods at once; they must not wait.
 *
 * <p>The library ships four, which differ in what makes pages turn:
 *
 * <table>
 * <caption>The policies that are shipped</caption>
 * <tr><th></th><th>at the start</th><th>hypercall</th><th>memory fault</th></tr>
 * <tr><td>{@link #eager eager}</td><td>everything</td><td>as asked</td><td>error</td></tr>
 * <tr><td>{@link #onFault on-fault}</td><td>nothing</td><td>nothing</td><td>what was used</td></tr>
 * <tr><td>{@link #batched batched}</td><td>nothing</td><td>nothing</td><td>to shared what was used,
 *     to private its neighbourhood</td></tr>
 * <tr><td>{@link #hypercallOnly hypercall}</td><td>nothing</td><td>as asked</td><td>error</td></tr>
 * </table>
 *
 * <p>A user's own policy is found by its name, on the command line too, if it is a service of this
 * type ({@link ServiceLoader}): public, with a public constructor without parameters, and named in
 * {@code META-INF/services} or by {@code provides} in a module.
 */
public interface ConversionPolicy {

  /**
   * Returns the name of this policy, as on the command line.
   *
   * @return lower-case words with hyphens
   */
  String id();

  /**
   * Returns what to convert to private before the first vCPU runs.
   *
   * @param memory the guest's memory
   * @return ranges in it; none by default
   */
  default List<GpaRange> beforeFirstRun(GpaRange memory) {
    return List.of();
  }

  /**
   * Returns what to convert because a vCPU has used pages with the other view.
   *
   * @param pages the pages that it used
   * @param attribute the view that it used, which the pages must get for it to go on
   * @return a range that contains the pages; or empty, if this is an error of the guest
   */
  Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute);

  /**
   * Returns what to convert because the guest asks for it. For a large range, or one with gaps,
   * this is called for each {@linkplain ConversionHandler piece}.
   *
   * @param range the range that it asked for, all of it with memory
   * @param attribute the attribute that it asked for
   * @return a range; or empty, if the hypercall is to succeed without a conversion
   */
  Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute);

  /**
   * Called when a conversion for one of this policy's answers was done.
   *
   * @param range the range that was converted
   * @param attribute its attribute now
   */
  default void converted(GpaRange range, MemoryAttribute attribute) {}

  /**
   * Converts everything to private before the first vCPU runs, and after that what the guest asks
   * for. A memory fault is an error of the guest.
   *
   * <p>It costs one conversion of the whole memory, which goes by node where nothing has been
   * touched, and later one for each buffer that the guest shares. Nothing is ever converted because
   * of a fault, so the guest meets no delay that it has not asked for; but it has to say what it
   * shares.
   *
   * <p>This is how today's monitors for TDX and SEV-SNP begin: QEMU makes the memory of a
   * guest_memfd private when it makes the memslot, and the guest names its bounce buffers by {@code
   * TDG.VP.VMCALL<MapGPA>} or a page state change.
   *
   * @return the policy {@code eager}, without state
   */
  static ConversionPolicy eager() {
    return Eager.INSTANCE;
  }

  /**
   * Converts as late as possible: only what a vCPU has used with the other view. Hypercalls succeed
   * and convert nothing.
   *
   * <p>It costs an exit and a conversion for each page that is used with another view than before,
   * and nothing for what the guest asks for and then does not use. Nothing is exposed that the
   * guest has not used as shared.
   *
   * <p>Monitors treat a guest that converts implicitly in this way, as TDX guests may and pKVM
   * guests do: KVM exits with a memory fault, and QEMU converts the pages that the exit names.
   *
   * @return the policy {@code on-fault}, without state
   */
  static ConversionPolicy onFault() {
    return OnFault.INSTANCE;
  }

  /**
   * As {@link #onFault}, but to private converts the neighbourhood too: of the aligned 2 MiB around
   * the pages used, the contiguous piece that has no page which the guest wants shared. To shared
   * it never converts more than the guest has used, for that would expose what is private.
   *
   * <p>The guest wants a page shared from its use as shared, or the hypercall that asks for that,
   * until its use as private, or the hypercall for that. A page that was shared from the beginning,
   * and that the guest has neither used nor asked for, may be converted along with its neighbours;
   * when the guest uses it as shared it is converted back.
   *
   * <p>Blocks of 2 MiB in which both are mixed would be converted to and fro. Therefore the first
   * private faults of a block, 2 at the beginning, convert single pages; only when so many have
   * come in a row, without a conversion to shared, the next converts the neighbourhood, and so do
   * those after it. A conversion to shared in such a block makes it start again, with twice as many
   * single pages, up to 512. A neighbourhood that is refused is tried again after as many single
   * pages.
   *
   * <p>It costs up to 512 times fewer exits than {@link #onFault} for a guest that takes its memory
   * into use in order, some 200 bytes of Java heap for each 2 MiB of which the guest has used
   * something or asked for a part, and one lock for each, which is held for the time of a look at
   * 512 bits.
   *
   * <p>Comes from the 2 MiB of the page tables: KVM maps a huge page only where all of its pages
   * have one attribute, and Linux guests accept memory in pieces of 2 MiB for that reason.
   *
   * @return a policy {@code batched}, new
   */
  static ConversionPolicy batched() {
    return new Batched();
  }

  /**
   * Converts what the guest asks for by hypercall, exactly and at once, and nothing else. A memory
   * fault is an error of the guest.
   *
   * <p>It costs one conversion for each hypercall. The memory is at first what its file was created
   * as: with {@code INIT_SHARED} the guest has to ask for all that it wants private, as an SEV-SNP
   * guest does that validates each page before its use; without, it is {@link #eager} less the
   * conversion at the start.
   *
   * <p>This is how monitors without memory faults convert: in Cloud Hypervisor, a guest's page
   * state changes are requests that name their ranges.
   *
   * @return the policy {@code hypercall}, without state
   */
  static ConversionPolicy hypercallOnly() {
    return HypercallOnly.INSTANCE;
  }

  /**
   * Returns the names of all policies: shipped ones first, then those that were found as services.
   *
   * @return the names, each once
   * @throws java.util.ServiceConfigurationError if a service cannot be loaded
   */
  static List<String> ids() {
    return all().map(ConversionPolicy::id).distinct().toList();
  }

  /**
   * Finds a policy by its name: a shipped one or, if there is none of that name, a service.
   *
   * @param id the name
   * @return a policy for one virtual machine, new if it has state; nothing if there is none of that
   *     name
   * @throws java.util.ServiceConfigurationError if a service cannot be loaded
   */
  static Optional<ConversionPolicy> byId(String id) {
    Objects.requireNonNull(id, "id");
    return all().filter(p -> p.id().equals(id)).findFirst();
  }

  private static Stream<ConversionPolicy> all() {
    return Stream.concat(
        Stream.of(eager(), onFault(), batched(), hypercallOnly()),
        ServiceLoader.load(ConversionPolicy.class).stream().map(ServiceLoader.Provider::get));
  }
}
