-- This text runs in the foreign program's SQLite, which may be as old as 3.8.2: no UPSERT, no RETURNING.
-- INSERT OR IGNORE would be fatal: an outer REPLACE overrides its policy. Hence NOT EXISTS.
CREATE TRIGGER migrate_ins AFTER INSERT ON tasks WHEN NOT EXISTS(SELECT 1 FROM migrate_ours) BEGIN
  SELECT RAISE(ABORT,'migrate: writes have moved to the new database')
    WHERE NOT EXISTS(SELECT 1 FROM migrate_fence WHERE prim='old' AND state='open');
  SELECT RAISE(ABORT,'migrate: id must be text') WHERE typeof(NEW.id)<>'text';
  SELECT RAISE(ABORT,'migrate: id must not be empty') WHERE NEW.id='';
  INSERT INTO migrate_record SELECT NEW.id,0,0,0,0,NULL WHERE NOT EXISTS(SELECT 1 FROM migrate_record WHERE id=NEW.id);
  UPDATE migrate_record SET rev=rev+1,epoch=(SELECT epoch FROM migrate_fence),pending=1,deleted=0 WHERE id=NEW.id;
END;
CREATE TRIGGER migrate_upd AFTER UPDATE ON tasks WHEN NOT EXISTS(SELECT 1 FROM migrate_ours) BEGIN
  SELECT RAISE(ABORT,'migrate: writes have moved to the new database')
    WHERE NOT EXISTS(SELECT 1 FROM migrate_fence WHERE prim='old' AND state='open');
  SELECT RAISE(ABORT,'migrate: id must be text') WHERE typeof(NEW.id)<>'text';
  SELECT RAISE(ABORT,'migrate: id must not be empty') WHERE NEW.id='';
  UPDATE migrate_record SET rev=rev+1,epoch=(SELECT epoch FROM migrate_fence),pending=1,deleted=1
    WHERE id=OLD.id AND id<>NEW.id;
  INSERT INTO migrate_record SELECT NEW.id,0,0,0,0,NULL WHERE NOT EXISTS(SELECT 1 FROM migrate_record WHERE id=NEW.id);
  UPDATE migrate_record SET rev=rev+1,epoch=(SELECT epoch FROM migrate_fence),pending=1,deleted=0 WHERE id=NEW.id;
END;
CREATE TRIGGER migrate_del AFTER DELETE ON tasks WHEN NOT EXISTS(SELECT 1 FROM migrate_ours) BEGIN
  SELECT RAISE(ABORT,'migrate: writes have moved to the new database')
    WHERE NOT EXISTS(SELECT 1 FROM migrate_fence WHERE prim='old' AND state='open');
  UPDATE migrate_record SET rev=rev+1,epoch=(SELECT epoch FROM migrate_fence),pending=1,deleted=1 WHERE id=OLD.id;
END;
