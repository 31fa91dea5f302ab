# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
#
# The downstream experiment, called by `make experiment`: every arm of training for every seed, then the tables. The bi-level
# arms of a seed share clean readers and warm-up, in which they do not differ. What is done already is not done again, and a
# training that was interrupted goes on after its last epoch.
#
#   RUN      python with the bundle's packages     DATA     data set with a datalist.json
#   OUTPUT   folder of arms and tables             ARGS     further settings of train.yaml
#   SEEDS    of trainings                          OVERLAY  further configuration, such as configs/classification.yaml
#   COSTS    folder of measured costs, for the table
#   COMPARE_ARGS  further settings of downstream.yaml

SEEDS ?= 0 1 2
ARMS ?= separate first_order finite_difference unrolled

# One thread each: several trainings share the cores.
export OMP_NUM_THREADS := 1

OVERLAY ?=
comma := ,
empty :=
listed = $(subst $(empty) $(empty),$(comma),$(strip $(1)))
CONFIGS := 'configs/train.yaml'$(OVERLAY:%=$(comma)'%')
# Nobody enhances scans with an arm, so its measures need no limits.
TRAIN = cd bundle && $(RUN) -m monai.bundle run training --config_file "[$(CONFIGS)]" --dataset_dir $(DATA) \
	--mlflow False --num_workers 0 --calibrates False --output_dir $(@D) --model_dir $(@D) $(ARGS)
GOES_ON = --resume $$(test -f $(@D)/checkpoint.pt && echo True || echo False)
# A failure shows the end of its log.
LOGGED = > $(@D)/log.txt 2>&1 || { tail -3 $(@D)/log.txt >&2; false; }
DOWNSTREAM = --config_file "[$(CONFIGS),'configs/downstream.yaml']" --dataset_dir $(DATA) --output_dir $(OUTPUT) \
	--arms_dir $(OUTPUT)/arms --mlflow False --arms "[$(call listed,$(ARMS:%='%'))]" $(ARGS) $(COMPARE_ARGS)
COMPARE = cd bundle && $(RUN) -m monai.bundle run downstream $(DOWNSTREAM)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: tables always

tables: $(SEEDS:%=$(OUTPUT)/compared/seed%/.compared)
	$(COMPARE) --seeds "[$(call listed,$(SEEDS))]" $(COSTS:%=--costs_dir %)

# What the arms were trained with, and on: they are trained anew where it has changed.
$(OUTPUT)/settings.txt: always
	@mkdir -p $(@D)
	@{ echo '$(OVERLAY) $(ARGS)'; \
		cat bundle/configs/train.yaml $(OVERLAY:%=bundle/%) $(DATA)/datalist.json | cksum; } > $@.now
	@if cmp -s $@.now $@; then rm $@.now; else mv $@.now $@; fi

# What can be wrong with labels and settings is told before the first training, not after the last.
$(OUTPUT)/.checked: $(OUTPUT)/settings.txt
	@cd bundle && $(RUN) -m monai.bundle run checking $(DOWNSTREAM) > $(@D)/log.txt 2>&1 || { tail -3 $(@D)/log.txt >&2; false; }
	@touch $@

$(OUTPUT)/compared/seed%/.compared: $(ARMS:%=$(OUTPUT)/arms/%/seed%/.trained)
	@mkdir -p $(@D)
	$(COMPARE) --seeds "[$*]" $(LOGGED)
	touch $@

# Of other settings there is nothing to go on from.
ONLY_NEWER_THAN = @mkdir -p $(@D); test $(@D)/checkpoint.pt -nt $< || rm -f $(@D)/checkpoint.pt

$(OUTPUT)/warmup/seed%/.trained: $(OUTPUT)/.checked
	$(ONLY_NEWER_THAN)
	$(TRAIN) --seed $* --pause_after @warmup_epochs $(GOES_ON) $(LOGGED)
	touch $@

LEFT_A_NETWORK = test -f $(@D)/model.pt || { echo "$(@D): the training left no model.pt, see log.txt" >&2; false; }

$(OUTPUT)/arms/separate/seed%/.trained: $(OUTPUT)/.checked
	$(ONLY_NEWER_THAN)
	$(TRAIN) --seed $* --hypergradient none $(GOES_ON) $(LOGGED)
	@$(LEFT_A_NETWORK)
	touch $@

# Without a warm-up there is none to share.
SHARED := $(if $(filter --warmup_epochs=0,$(subst --warmup_epochs 0,--warmup_epochs=0,$(ARGS))),,warmup)

define BILEVEL_ARM
$(OUTPUT)/arms/$(1)/seed%/.trained: $(if $(SHARED),$(OUTPUT)/warmup/seed%/.trained,$(OUTPUT)/.checked)
	$$(ONLY_NEWER_THAN)
	$(if $(SHARED),test -f $$(@D)/checkpoint.pt || cp $(OUTPUT)/warmup/seed$$*/checkpoint.pt $$(@D))
	$$(TRAIN) --seed $$* --hypergradient $(1) $$(GOES_ON) $$(LOGGED)
	@$$(LEFT_A_NETWORK)
	touch $$@
endef
$(foreach arm,$(filter-out separate,$(ARMS)),$(eval $(call BILEVEL_ARM,$(arm))))
