package io.github.guestmemfd.lab.workload;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * What a guest gives its device to do.
 *
 * @param page the first page
 * @param pages how many
 * @param early whether the device says that it is done before it lets go the pages
 * @param outstanding counts what the vCPU has given and the device has not done
 */
record Transfer(int page, int pages, boolean early, AtomicInteger outstanding) {}
