"""What keeps each promise of docs/reliability.md, as the edit that takes it out: row -> file, what stands there, what comes instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """The edits that take a protection away: pairs of what stands in the file and what stands there instead."""

    file: str
    edits: tuple[tuple[str, str], ...]
    slow: bool = False


def take(file: str, *edits: tuple[str, str], slow: bool = False) -> Mutation:
    return Mutation(f"vibe_assets/{file}", edits, slow)


LATER = 'self.__dict__.setdefault("later", []).extend'
MUTATIONS = {
    "kill-table": take(
        "lake.py",
        (
            "                write_deltalake(loaded, data,",
            "                loaded.delete(options.pop('predicate', None))\n"
            "                options['mode'] = 'append'\n                write_deltalake(loaded, data,",
        ),
    ),
    "power-table": take("lake.py", ("table_files.sync_commits(path, after=before)", "pass")),
    "kill-journal": take(
        "teacher/journal.py",
        (
            "                        _write_whole(descriptor, line)\n                    os.fsync(descriptor)",
            "                        _write_whole(descriptor, line)",
        ),
    ),
    "kill-head": take(
        "heads/store.py",
        ('unfinished = heads_dir / f"{UNFINISHED}{uuid.uuid4().hex}"', "unfinished = final"),
        ("        shutil.rmtree(unfinished, ignore_errors=True)\n    return", "        pass\n    return"),
    ),
    "kill-deployment": take(
        "heads/deployments.py",
        (
            "            log.truncate(whole)\n            if (written",
            "            log.seek(0)\n            line = log.read(whole) + line\n            log.truncate(0)\n            if (written",
        ),
    ),
    "kill-verdict": take(
        "audit/log.py", ("self._journal.append_many(verdict.line(self.questions) for verdict in verdicts)", f"{LATER}(verdicts)")
    ),
    "kill-choice": take("triage/choices.py", ("self._journal.append_many(lines)", f"{LATER}(lines)")),
    "kill-vectors": take(
        "encoders/cache.py", ("with atomic_file(path) as temporary", 'with __import__("contextlib").nullcontext(path) as temporary')
    ),
    "kill-file": take(
        "lake.py",
        ('temporary = path.with_name(f".{path.name}.{os.getpid()}.{random.getrandbits(32):08x}.tmp")', "temporary = path"),
        ("    finally:\n        temporary.unlink(missing_ok=True)", "    finally:\n        pass"),
    ),
    "kill-published": take(
        "stages/warehouse.py", ('connection.execute("BEGIN")', "pass"), ('connection.execute("COMMIT")', "pass"), slow=True
    ),
    "full-table": take("lake.py", ("            _ensure_space(path, int(rows.estimated_size()))", "            pass")),
    "full-logs": take("teacher/journal.py", ("        os.ftruncate(descriptor, before)\n", "")),
    "full-heads": take(
        "heads/store.py", ('        raise HeadError(f"{final}: not saved', '        raise\n        raise HeadError(f"{final}: not saved')
    ),
    "full-published": take(
        "defs/resources.py",
        (
            "                return publish_tables(connection, tables)",
            "                path.unlink()\n                return publish_tables(connection, tables)",
        ),
    ),
    "read-only": take(
        "heads/deployments.py",
        (
            '                raise HeadError(f"{self.path}: {error.strerror}; the heads in force stay: repair',
            '                raise\n                raise HeadError(f"{self.path}: {error.strerror}; the heads in force stay: repair',
        ),
    ),
    "torn-commit": take("table_files.py", ('        file.rename(file.with_name(f"{file.name}.damaged"))', "        pass")),
    "torn-data": take("lake.py", ("(torn := table_files.torn_data(path, _data_files(loaded))):", "(torn := None):")),
    "torn-checkpoint": take("table_files.py", ("found = _torn_checkpoint(table)", "found: list[Torn] = []")),
    "torn-head": take("heads/store.py", ("if final.is_dir() and _is_whole(final):", "if final.is_dir():")),
    "torn-journal": take("teacher/journal.py", ("            _end_torn_line(descriptor)\n", "")),
    "torn-verdict": take("teacher/journal.py", ("asked again\n            continue", "asked again\n            raise")),
    "torn-deployment": take(
        "heads/deployments.py",
        ('        whole = content[: content.rfind(b"\\n") + 1]\n        entries', "        whole = content\n        entries"),
    ),
    "torn-vectors": take("encoders/cache.py", ("            self._set_aside(path, error)", "            raise")),
    "teacher-busy": take("teacher/client.py", ("if again.counts and tries >= self.settings.retries:", "if again.counts:")),
    "teacher-gone": take(
        "teacher/annotate.py",
        (
            "return open_questions(record, questions, photo.rel_path) if client is None",
            "return tuple(questions.asked_fingerprints) if client is None",
        ),
    ),
    "teacher-drip": take("teacher/client.py", ("asyncio.timeout(self.settings.timeout_s)", "asyncio.timeout(None)")),
    "teacher-endless": take("teacher/client.py", ("if size > MAX_BODY_BYTES:", "if False:")),
    "teacher-endless-error": take("teacher/client.py", ("if response.status_code >= 400:", "if False:")),
    "teacher-garbage": take("teacher/client.py", ("except (InvalidAnswer, self._http.DecodingError) as", "except InvalidAnswer as")),
    "teacher-changed": take("stages/gates.py", ("        set(teachers) <= {current},\n", "        True,\n")),
    "two-runs": take(
        "teacher/annotate.py",
        ("            journal.claim(run.record_bytes)\n", ""),
        ("                return self.journal.claim(len(self.owed) * self.record_bytes)\n", "                return\n"),
    ),
    "full-answers": take(
        "teacher/annotate.py",
        ("            journal.claim(run.record_bytes)\n", ""),
        ("                return self.journal.claim(len(self.owed) * self.record_bytes)\n", "                return\n"),
    ),
    "gone-table": take("lake.py", ("return table.name not in self.staged and table.name in self._made()", "return False")),
    "gone-repaired": take(
        "lake.py", ("return self.staging / table.name if self.staging is not None and table.name in self.staged else self", "return self")
    ),
    "export-nothing": take("export/formats.py", ("if not photos and (before := photos_in(folder)):", "if before := 0:")),
    "old-versions": take("lake.py", ("keep_versions=kept or None", "keep_versions=None")),
    "moved-log": take("teacher/journal.py", ("                    if still_named(self.path, descriptor):", "                    if True:")),
    "moved-deployment": take(
        "heads/deployments.py",
        ("            if not still_named(self.path, log.fileno()):\n                raise", "            if False:\n                raise"),
    ),
    "damaged-lines": take("operate/damage.py", ("sum(not is_whole(line) for line in _lines(place))", "0")),
    "published-older": take("stages/warehouse.py", ('"storage_compatibility_version": STORAGE', "")),
    "two-writers": take(
        "lake.py",
        (
            "            except CommitFailedError:\n                time.sleep(",
            "            except ZeroDivisionError:\n                time.sleep(",
        ),
    ),
    "photos-changed": take("teacher/images.py", ("if image_id is not None and not hashlib", "if False and not hashlib")),
    "folders-unreadable": take(
        "photos/folders.py", ("unread = [problem for problem in discovery.problems if", "unread = [problem for problem in () if")
    ),
    "sizes": take("photos/decode.py", ("            if status.st_size > max_bytes:", "            if False:")),
    "clock-verdict": take("audit/log.py", ("return now if self._newest is None or now > self._newest else", "return now if True else")),
    "clock-pause": take("audit/settle.py", ("if abs(following - times[end - 1]) >= pause", "if (following - times[end - 1]) >= pause")),
    "clock-choice": take("triage/choices.py", ("if choice.at <= before:", "if False:")),
    "clock-answer": take("teacher/journal.py", ('return isinstance(record.get("annotation"), dict), str', "return True, str")),
    "published-damaged": take("defs/resources.py", ("        refuse_damaged(path)\n", "")),
    "published-lost": take("stages/warehouse.py", ('        file.with_name(f"{file.name}.wal").unlink(missing_ok=True)', "        pass")),
    "published-locked": take(
        "stages/warehouse.py",
        (
            "platform.settings.warehouse_file\n    with atomic_file(file) as temporary:",
            'platform.settings.warehouse_file\n    with __import__("contextlib").nullcontext(file) as temporary:',
        ),
    ),
    "all-killed": take("operate/launcher.py", ('return sys.platform == "linux"', "return False"), slow=True),
    "daemon-killed": take(
        "teacher/annotate.py",
        (
            "return open_questions(record, questions, photo.rel_path) if client is None",
            "return tuple(questions.asked_fingerprints) if client is None",
        ),
        slow=True,
    ),
    "run-failed": take("defs/plan.py", ("attempt.ended - 60 <= seen.now < attempt.next_try", "True")),
    "request-lost": take("defs/plan.py", ("    if made.inputs is None:", '    if True:\n        return ""\n    if made.inputs is None:')),
    "gate-crashed": take("defs/checks/gate.py", ("    except Exception as error:", "    except ZeroDivisionError as error:"), slow=True),
    "folder-bad": take(
        "stages/gates.py", ("        platform.lake.read_live(RAW_PHOTOS),", "        platform.lake.read_live(RAW_PHOTOS).head(3),")
    ),
    "half-written": take("photos/scan.py", ("(reason in DAMAGED and opened and now - written < YOUNG)", "False")),
    "written-again": take("defs/metadata.py", ("(kept.sort(keys, nulls_last=True, maintain_order=True) if keys else kept)", "kept")),
    "slow-disk": take("teacher/annotate.py", ("        await self.unkept.acquire()\n", ""), ("            self.unkept.release()\n", "")),
    "sidecar-detour": take("export/sidecar_files.py", ("    if found != named:", "    if False:")),
    "strange-head": take("stages/deploying.py", ("    if head.card.encoder not in known:", "    if False:")),
    "strange-instance": take("operate/instance.py", ('        if known["library"] != mine["library"]:', "        if False:")),
    "head-refused": take(
        "defs/history.py",
        ("_judgements(instance, JUDGES_ITSELF.get(asset, {}), by_folder", "_judgements(instance, {}, by_folder"),
    ),
    "history-unusable": take("operate/instance.py", ("    except DBAPIError as error:", "    except ZeroDivisionError as error:")),
}
