package io.github.guestmemfd.lab.report;

import java.util.ArrayList;
import java.util.List;

/**
 * What has become of a guest of a platform in a run.
 *
 * @param platform the id of the platform
 * @param condition how well its hardware worked
 * @param monitor what memory the guest had, and what was discarded on conversion
 * @param protocol the id of the conversion protocol
 * @param sound whether that claims to be sound
 * @param policy the id of the conversion policy
 * @param workload the id of the workload
 * @param vcpus how many vCPUs
 * @param stuck whether an actor did not end
 * @param death why the guest died; empty if it lives
 * @param leaks how often the host reached content after its page had become private
 * @param aborts of pKVM: how often the host touched a page that was the guest's alone. What is a
 *     leak elsewhere is an abort here: the guest takes a page back from the hypervisor before it
 *     writes a secret, so the hypervisor does not let the host read it
 * @param corruptions how often the guest found other content than it should have
 * @param owned frames that the hardware still has for the guest when its file is closed
 * @param framesLeaked frames that are still in use then, and that the platform does not keep
 * @param refused faults that the hardware has refused
 * @param guestOps what the guest has done of what it was asked for
 */
public record Survival(
    String platform,
    Condition condition,
    Monitor monitor,
    String protocol,
    boolean sound,
    String policy,
    String workload,
    int vcpus,
    boolean stuck,
    String death,
    long leaks,
    long aborts,
    long corruptions,
    long owned,
    long framesLeaked,
    long refused,
    long guestOps) {

  /**
   * Whether the guest has survived: it lives, has done something, has lost no content, nothing of
   * it was seen by the host, and the host has its frames back.
   *
   * @return the answer
   */
  public boolean survives() {
    return findings().isEmpty();
  }

  /**
   * Whether the library, and not the hardware or the protocol, is to blame for what was found.
   *
   * @return true if a sound protocol leaked or left a frame in use, or if content or a frame was
   *     lost on hardware that works
   */
  public boolean isWrong() {
    return sound
        && (leaks > 0
            || framesLeaked > 0
            || (condition == Condition.WORKS && corruptions + owned > 0));
  }

  /**
   * What speaks against that.
   *
   * @return a few words each, without figures; empty if nothing
   */
  public List<String> findings() {
    List<String> found = new ArrayList<>();
    if (stuck) {
      found.add("stuck");
    }
    if (!death.isEmpty()) {
      found.add("dead");
    }
    if (leaks > 0) {
      found.add("leaks");
    }
    if (aborts > 0) {
      found.add("aborts");
    }
    if (corruptions > 0) {
      found.add("content lost");
    }
    if (owned > 0 || framesLeaked > 0) {
      found.add("frames lost");
    }
    if (!stuck && guestOps == 0) {
      found.add("nothing done");
    }
    return List.copyOf(found);
  }
}
